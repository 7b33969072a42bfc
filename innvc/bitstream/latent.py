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
from innvc.bitstream.dependent import half_steps
from innvc.bitstream.intra import BlockChooser, ExactIntra
from innvc.bitstream.prior import ExactPrior, FramePrior
from innvc.bitstream.skips import SkipCoder
from innvc.device import one_thread
from innvc.model import subbands as order
from innvc.model.contexts import Context

WEIGHT = 256  # of a table, in symbols


class Chooser(Protocol):
    """Gives the symbols to code."""

    def __call__(
        self, subband: int, rows: slice, places: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Symbols [channels, H, W] (int32) for scale indexes and means; `places` [H, W] count."""

    def known(self, subband: int) -> np.ndarray | None:
        """Positions [H, W] to code as zero, where the symbols need no passes before; else None."""

    def skipped(self, subband: int) -> np.ndarray:
        """Positions [H, W] to code as zero, by the symbols chosen so far for this frame."""

    def improve(self, subband: int) -> bool:
        """Chooses again after such passes; whether one more is wanted, with what was chosen."""


@dataclass
class Packet:
    """A packet's latent: `values` [G, C, H, W] in sixteenths of a step, and the coded layers.

    Values and contexts are whole numbers in float32.
    """

    values: Tensor
    low: Context  # context of the low-pass frame, for the next packet
    coded: list[list[bytes]]  # [level][layer], coarse to fine; empty when decoding
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
    found: Callable[[Tensor], None] = lambda values: None,
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
        data: Coded bytes, [level][layer], coarse to fine; may hold only the first layers. Also
            [subband frame][layer], as files of earlier versions have them.
        subbands: How many subband frames to decode, coarse to fine; None is all.
        found: Is given the values [1, C, H, W] of each subband frame, once they are known.

    Returns:
        Values of the subband frames; channels of missing layers are zero.
    """
    none = exact.empty(size)
    uniform = np.zeros(size, np.int32)
    offsets = uniform if offsets is None else offsets
    done: dict[int, Context] = {}  # those that are read again
    values: list[Tensor] = []
    count = group if subbands is None else subbands
    flags: list[np.ndarray] = []  # of skipped positions
    skips = SkipCoder()
    adaptive = [AdaptiveTables(WEIGHT) for _ in exact.layers]
    coded: list[list[bytes]] = []
    layers = len(exact.layers) if data is None else len(data[0])
    checksums = [0] * layers
    by_frame = data is not None and len(data) == group
    rows = [j if by_frame else order.row_of(j, group) for j in range(count)]
    coders: list[Encoder | Decoder] = []
    for j, row in enumerate(rows):
        if row not in rows[:j]:
            coders = [Encoder() if data is None else Decoder(data[row][k]) for k in range(layers)]
        parent, sibling = order.parent_of(j, group), order.sibling_of(j, group)
        before = previous if j == 0 and previous is not None and not predicted else none
        if j == 0 and intra is not None:
            current = none
            if layers:
                blocks, symbols = intra.code(coders[0], offsets, choose_block)
                checksums[0] = zlib.crc32(symbols.astype("<i4").tobytes())
                half = intra.layout.latent(torch.from_numpy(blocks)[None])
                current = exact.network.context(intra.merged(half)).single()
            else:
                half = current.value
            done[0] = current
            flags.append(np.zeros(size, bool))
            values.append(half.float())  # they are whole, and below 2^24
            found(values[-1])
            coded.append([c.finish() for c in coders if isinstance(c, Encoder)])
            continue
        outside = (
            order.statistics_level(j, group, predicted),
            none if parent is None else done[parent],
            before if sibling is None else done[sibling],
            done[0] if j else none,
            grid(j),
            uniform if j else offsets,
        )
        skip = np.zeros(size, bool)
        wanted = None if choose is None else choose.known(j)
        if (
            choose is not None
            and wanted is None
            and (exact.config.skip or exact.symbols.planes is not None)
        ):
            # Passes before tell what each position costs: by itself, and along a path of states.
            for dependent in (False, True)[: 1 + (exact.symbols.planes is not None)]:
                trial = FramePrior(exact, *outside, skip)
                list(_code_frame(exact, trial, skip, partial(choose, j), None, [], dependent))
                wanted = choose.skipped(j)
            while wanted is not None and choose.improve(j):
                trial = FramePrior(exact, *outside, wanted)
                list(_code_frame(exact, trial, wanted, partial(choose, j), None, []))
        if exact.config.skip and layers:
            skip = skips.code(
                coders[0],
                flags[parent] if parent is not None else skip,
                flags[sibling] if sibling is not None else skip,
                wanted,
            )
            checksums[0] = zlib.crc32(skip.tobytes(), checksums[0])
        flags.append(skip)
        chosen = None if choose is None else partial(choose, j)
        frame = FramePrior(exact, *outside, skip)
        for k, symbols in _code_frame(exact, frame, skip, chosen, coders, adaptive):
            checksums[k] = zlib.crc32(symbols.astype("<i4").tobytes(), checksums[k])
        if row not in rows[j + 1 :]:
            coded.append([c.finish() for c in coders if isinstance(c, Encoder)])
        done[j] = frame.context()
        values.append(done[j].value)
        found(values[-1])
        read = order.read_after(j, group)
        done = {k: context for k, context in done.items() if k == 0 or k in read}
    return Packet(torch.cat(values), done[0], coded, checksums)


def _code_frame(
    exact: ExactPrior,
    frame: FramePrior,
    skip: np.ndarray,
    choose: Callable[[slice, np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None,
    coders: Sequence[Encoder | Decoder] | None,
    adaptive: Sequence[AdaptiveTables],
    dependent: bool = True,
) -> Iterator[tuple[int, np.ndarray]]:
    """Codes or decodes a subband frame, and gives each call's layer and symbols.

    Args:
        skip: Positions [H, W] without symbols: all are zero.
        coders: Of each layer; None only chooses.
        adaptive: Tables of each layer.
        dependent: False chooses in independent quantisation.
    """
    kept = ~skip.ravel()
    states = exact.symbols.start(skip.size)
    for k in range(len(exact.layers) if coders is None else len(coders)):
        for rows in exact.layers[k]:
            frame.begin(rows)
            for number, places in enumerate(frame.passes(rows)):
                if number:
                    frame.half(rows)
                frame.predict(rows, places)
                here = places[kept[places]]
                wanted = None
                if choose is not None:
                    mask = np.zeros(skip.size, bool)
                    mask[here] = True
                    shape = -1, *skip.shape
                    scale, mean = (x[rows].reshape(shape) for x in (frame.scale, frame.mean))
                    wanted = choose(rows, mask.reshape(skip.shape), scale, mean)
                    wanted = wanted.reshape(len(wanted), -1)[:, here]
                if coders is None:
                    assert wanted is not None
                    half = half_steps(wanted, 0)
                    if dependent:
                        half = exact.symbols.follow(states, rows, here, wanted)
                else:
                    symbols, half = exact.symbols.code(
                        coders[k], states, rows, here, frame.scale[rows], wanted, adaptive[k]
                    )
                    yield k, symbols
                frame.settle(rows, here, half)
            frame.end(rows)
