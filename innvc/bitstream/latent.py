"""Latent symbols of one packet: the same function codes and decodes them (docs/format.md)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.dependent import SymbolCoder, half_steps, in_steps
from innvc.bitstream.intra import BlockChooser, ExactIntra
from innvc.bitstream.skips import SkipCoder
from innvc.bitstream.step_offsets import steps_of
from innvc.device import one_thread
from innvc.errors import UnsupportedError
from innvc.model import subbands as order
from innvc.model.contexts import VALUE_LIMIT, Context, second_half
from innvc.model.prior import LatentPrior
from innvc.model.quantisation import SCALE_LEVELS

WEIGHT = 256  # of a table, in symbols


class Chooser(Protocol):
    """Gives the symbols to code."""

    def __call__(
        self, subband: int, rows: slice, places: Tensor, scale: Tensor, mean: Tensor
    ) -> np.ndarray:
        """Symbols [channels, H, W] (int32) for scale indexes and means; `places` [H, W] count."""

    def skipped(self, subband: int) -> np.ndarray:
        """Positions [H, W] to code as zero, by the symbols chosen so far for this frame."""


class ExactPrior:
    """The latent prior in integer-valued float64, ready for coding.

    Args:
        planes: Of the channels, for dependent quantisation.

    Raises:
        UnsupportedError: a sum could leave the range in which float64 is exact.
    """

    def __init__(
        self, prior: LatentPrior, layers: Sequence[int], planes: np.ndarray | None = None
    ) -> None:
        self.symbols = SymbolCoder(planes)
        self.prior = prior.double()
        if self.prior.largest_sum() >= 2.0**53:
            raise UnsupportedError("The latent prior's weights are too large to be exact.")
        with torch.no_grad():
            self.weights = self.prior.weights()
        ends = np.cumsum([0, *prior.groups]).tolist()
        slices = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        bounds = np.cumsum([0, *layers]).tolist()
        self.layers = [slices[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        self.channels = ends[-1]
        self.halved = sum(prior.groups[: prior.config.halves])

    @property
    def device(self) -> torch.device:
        return self.prior.base.device

    def passes(self, rows: slice, size: tuple[int, int]) -> list[Tensor]:
        """[H, W] masks of the positions that are coded together, in order."""
        if rows.start >= self.halved:
            return [torch.ones(size, dtype=torch.bool, device=self.device)]
        second = second_half(*size).to(self.device)
        return [~second, second] if second.any() else [~second]

    def empty(self, size: tuple[int, int]) -> Context:
        zero = torch.zeros(1, self.channels, *size, dtype=torch.float64, device=self.device)
        return Context(zero, zero.clone(), zero.clone())


@dataclass
class Packet:
    """A packet's latent: `values` [G, C, H, W] in sixteenths of a step, and the coded layers."""

    values: Tensor
    low: Context  # context of the low-pass frame, for the next packet
    coded: list[list[bytes]]  # [subband frame][layer]; empty when decoding
    checksums: list[int]  # CRC-32 of the symbols of each layer


@torch.no_grad()
@one_thread()
def code_packet(
    exact: ExactPrior,
    group: int,
    size: tuple[int, int],
    previous: Context | None,
    *,
    intra: ExactIntra | None = None,
    predicted: bool = False,
    grid: Callable[[int], Tensor | None] = lambda subband: None,
    offsets: np.ndarray | None = None,
    choose: Chooser | None = None,
    choose_block: BlockChooser | None = None,
    data: Sequence[Sequence[bytes | memoryview]] | None = None,
    subbands: int | None = None,
) -> Packet:
    """Codes (`choose`) or decodes (`data`) the symbols of one packet.

    Args:
        exact: The prior.
        group: Frames of the packet.
        size: Latent height and width.
        previous: Low-pass context of the packet before, None at a key packet.
        intra: Codes the low-pass frame in half-size blocks, all in layer 0.
        predicted: The low-pass frame is a difference, and coded as details are.
        grid: Gives what the prior reads of the field's grid for a subband frame, [1, E, H, W].
        offsets: Step offsets [H, W] of the low-pass frame; None is zero.
        choose, choose_block: Give the symbols to code; None decodes.
        data: Coded bytes, [subband frame][layer]; may hold only the first layers.
        subbands: How many subband frames to decode, coarse to fine; None is all.

    Returns:
        Values of the subband frames; channels of missing layers are zero.
    """
    none = exact.empty(size)
    uniform = np.zeros(size, np.int32)
    offsets = uniform if offsets is None else offsets
    done: list[Context] = []
    flags: list[np.ndarray] = []  # of skipped positions
    skips = SkipCoder()
    adaptive = [AdaptiveTables(WEIGHT) for _ in exact.layers]
    coded: list[list[bytes]] = []
    layers = len(exact.layers) if data is None else len(data[0])
    checksums = [0] * layers
    for j in range(group if subbands is None else subbands):
        parent, sibling = order.parent_of(j, group), order.sibling_of(j, group)
        before = previous if j == 0 and previous is not None and not predicted else none
        current = exact.empty(size)
        if j == 0 and intra is not None:
            coded.append([b""] * layers)
            if layers:
                block_coder = Encoder() if data is None else Decoder(data[0][0])
                blocks, symbols = intra.code(block_coder, offsets, choose_block)
                checksums[0] = zlib.crc32(symbols.astype("<i4").tobytes())
                half = intra.layout.latent(torch.from_numpy(blocks)[None]).to(exact.device)
                current = exact.prior.context(intra.merged(half))
                if isinstance(block_coder, Encoder):
                    coded[0][0] = block_coder.finish()
            else:
                half = current.value
            done.append(current)
            flags.append(np.zeros(size, bool))
            continue
        frame = _Frame(
            torch.tensor([order.statistics_level(j, group, predicted)], device=exact.device),
            none if parent is None else done[parent],
            before if sibling is None else done[sibling],
            grid(j),
            torch.from_numpy(uniform if j else offsets).to(exact.device),
            steps_of(uniform if j else offsets),
        )
        coders = [Encoder() if data is None else Decoder(data[j][k]) for k in range(layers)]
        skip = np.zeros(size, bool)
        wanted = None
        if choose is not None and (exact.prior.config.skip or exact.symbols.planes is not None):
            # A first pass tells what each position costs.
            list(_code_frame(exact, frame, exact.empty(size), skip, partial(choose, j), None, []))
            wanted = choose.skipped(j)
        if exact.prior.config.skip and layers:
            skip = skips.code(
                coders[0],
                flags[parent] if parent is not None else skip,
                flags[sibling] if sibling is not None else skip,
                wanted,
            )
            checksums[0] = zlib.crc32(skip.tobytes(), checksums[0])
        flags.append(skip)
        chosen = None if choose is None else partial(choose, j)
        for k, symbols in _code_frame(exact, frame, current, skip, chosen, coders, adaptive):
            checksums[k] = zlib.crc32(symbols.astype("<i4").tobytes(), checksums[k])
        coded.append([c.finish() for c in coders if isinstance(c, Encoder)])
        done.append(current)
    values = [c.value for c in done]
    if intra is not None:
        values[0] = half
    return Packet(torch.cat(values), done[0], coded, checksums)


@dataclass
class _Frame:
    """What the prior knows of a subband frame from outside."""

    level: Tensor
    parent: Context
    sibling: Context
    grid: Tensor | None
    offset: Tensor  # [H, W], of steps
    step: np.ndarray  # [H, W], in sixteenths


def _code_frame(
    exact: ExactPrior,
    frame: _Frame,
    current: Context,
    skip: np.ndarray,
    choose: Callable[[slice, Tensor, Tensor, Tensor], np.ndarray] | None,
    coders: Sequence[Encoder | Decoder] | None,
    adaptive: Sequence[AdaptiveTables],
) -> Iterator[tuple[int, np.ndarray]]:
    """Codes or decodes a subband frame into `current`, and gives each call's layer and symbols.

    Args:
        skip: Positions [H, W] without symbols: all are zero.
        coders: Of each layer; None only chooses, in independent quantisation.
        adaptive: Tables of each layer.
    """
    kept = torch.from_numpy(~skip).to(exact.device)
    states = exact.symbols.start(skip.shape)
    prior, weights = exact.prior, exact.weights
    every = slice(0, exact.channels)
    outside = prior.outside(weights, every, frame.level, frame.parent, frame.sibling, frame.grid)
    for k in range(len(exact.layers) if coders is None else len(coders)):
        for rows in exact.layers[k]:
            inside = prior.inside(weights, rows, current)
            sums = outside[0][:, rows] + inside[0], outside[1][:, rows] + inside[1]
            for number, places in enumerate(exact.passes(rows, skip.shape)):
                if number:
                    sums = prior.second_half(weights, rows, current.value, *sums)
                scale, mean = prior.indexes(*sums)
                scale = (scale + frame.offset).clamp(0, SCALE_LEVELS - 1)
                current.value[0, rows, places] = mean[0][:, places]
                here = places & kept
                chosen = here.cpu().numpy()
                wanted = None
                if choose is not None:
                    wanted = choose(rows, here, scale[0], mean[0])[:, chosen]
                if coders is None:
                    assert wanted is not None
                    half = half_steps(wanted, 0)
                else:
                    index, path = scale[0][:, here].cpu().numpy(), states[:, chosen]
                    symbols, half = exact.symbols.code(
                        coders[k], path, rows, index, wanted, adaptive[k]
                    )
                    states[:, chosen] = path
                    yield k, symbols
                value = torch.from_numpy(in_steps(half, frame.step[chosen])).to(mean)
                value = value + mean[0][:, here]
                current.value[0, rows, here] = value.clamp(-VALUE_LIMIT, VALUE_LIMIT)
            part = prior.context(current.value[:, rows])
            current.own[:, rows] = part.own
            current.around[:, rows] = part.around
