"""Latent symbols of a low-pass frame in wavefronts of blocks (docs/format.md).

The same function codes and decodes. Numpy in integer-valued float64: every sum is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from innvc.bitstream.adaptive import AdaptiveTables
from innvc.bitstream.coder import Decoder, Encoder
from innvc.bitstream.directions import NONE, DirectionCoder
from innvc.bitstream.step_offsets import steps_of
from innvc.bitstream.wavefront import wavefront
from innvc.errors import UnsupportedError
from innvc.model.contexts import LARGEST_LOG, VALUE_LIMIT, log_table
from innvc.model.directions import Directions
from innvc.model.intra import HIDDEN_LIMIT, NEIGHBOURS, SCALE_LIMIT, IntraPrior
from innvc.model.quantisation import SCALE_LEVELS

WEIGHT = 512  # of a table, in symbols

# (channels, scale indexes, means [channels, P]) -> symbols (int32)
Symbols = Callable[[slice, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Blocks:
    """P blocks that are coded together, and what their neighbours say of them.

    Attributes:
        i, j: Row and column of each.
        near: Values of the neighbours [4, C, P].
        first: Means by the networks [C, P].
        scale: Scale indexes in 2^-16, before step offsets [C, P].
        offset: Step offsets [P].
    """

    i: np.ndarray
    j: np.ndarray
    near: np.ndarray
    first: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


class BlockChooser(Protocol):
    """What an encoder decides."""

    def directions(self, blocks: Blocks, bits: np.ndarray) -> np.ndarray:
        """Directions [P] of blocks, where they cost `bits` [1 + DIRECTIONS, P], none first."""

    def symbols(
        self, rows: slice, i: np.ndarray, j: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        """Symbols (int32) [channels, P] by scale indexes and means, of channels of blocks."""


class ExactIntra:
    """The prior of low-pass frames, ready for coding.

    Args:
        prior: Its networks.
        directions: Blocks may be predicted in a direction that is coded.

    Raises:
        UnsupportedError: a sum could leave the range in which float64 is exact.
    """

    def __init__(self, prior: IntraPrior, directions: bool = False) -> None:
        prior = prior.double()
        with torch.no_grad():
            self.weights = {n: w.cpu().numpy() for n, w in prior.weights().items()}
        self.layout = prior.layout
        self.merged = prior.merged
        self.flat = prior.flat.numpy()
        ends = np.cumsum([0, *prior.groups]).tolist()
        self.groups = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        self.fixed = 64 * (self.weights["base"] - prior.step_base * self.weights["slope"])
        self.logs = log_table().numpy().astype(np.float64)
        self.directions = Directions(prior.frequencies) if directions else None
        if self.largest_sum() >= 2.0**53:
            raise UnsupportedError("The intra prior's weights are too large to be exact.")

    def largest_sum(self) -> float:
        """Bound on every integer that arises."""
        sums = {
            n: float(np.abs(w).reshape(len(w), -1).sum(1).max()) for n, w in self.weights.items()
        }
        enter = 2 * VALUE_LIMIT * sums["enter"]
        middle = HIDDEN_LIMIT * (2**16 + sums["middle"])
        mean = 2 * VALUE_LIMIT * sums["linear"] + HIDDEN_LIMIT * sums["leave"]
        within = 2 * VALUE_LIMIT * sums["within"]
        units = LARGEST_LOG * sums["scale_enter"] + sums["scale_bias"]
        logs = sums["scale_linear"] + sums["scale_hidden"] + sums["scale_within"]
        scale = SCALE_LIMIT * sums["scale_leave"] + LARGEST_LOG * logs
        scale += float(np.abs(self.fixed).max()) + 64 * sums["absent"]
        return max(enter, middle, mean, within, units, scale)

    def code(
        self, coder: Encoder | Decoder, offsets: np.ndarray, choose: BlockChooser | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (`choose`) or decodes a frame of blocks.

        Args:
            offsets: Step offsets [H, W], each of 2x2 blocks.

        Returns:
            Values in sixteenths [C, 2 H, 2 W], and the symbols in coding order.
        """
        channels = self.layout.channels
        rows, columns = (2 * n for n in offsets.shape)
        # A row above and a column on each side stay zero.
        value = np.zeros((channels, rows + 1, columns + 2))
        residual = np.zeros_like(value)
        coded = DirectionCoder(rows, columns)
        adaptive = AdaptiveTables(WEIGHT)
        found = []
        for i, j in wavefront(rows, columns):
            blocks = self._from_neighbours(value, residual, i, j, offsets[i // 2, j // 2])
            first = blocks.first
            if self.directions is not None:
                wanted = None if choose is None else choose.directions(blocks, coded.bits(i, j))
                first = self.directed(blocks, coded.code(coder, i, j, wanted))

            def symbols(
                group: slice,
                index: np.ndarray,
                mean: np.ndarray,
                i: np.ndarray = i,
                j: np.ndarray = j,
            ) -> np.ndarray:
                wanted = None if choose is None else choose.symbols(group, i, j, index, mean)
                given = None if wanted is None else wanted.ravel()
                found.append(coder.code(index.astype(np.uint8).ravel(), given, adaptive))
                return found[-1].reshape(mean.shape)

            here, difference = self.within(first, blocks.scale, blocks.offset, symbols)
            value[:, i + 1, j + 1] = here
            residual[:, i + 1, j + 1] = difference
        return value[:, 1:, 1:-1], np.concatenate(found)

    def directed(self, blocks: Blocks, direction: np.ndarray) -> np.ndarray:
        """Means [C, P] of blocks where those with a direction [P] are predicted in it."""
        assert self.directions is not None
        first = blocks.first.copy()
        for number in np.unique(direction[direction != NONE]):
            here = np.flatnonzero(direction == number)
            for channels, means in self.directions.predict(blocks.near[..., here], int(number)):
                first[channels[:, None], here] = np.clip(means, -VALUE_LIMIT, VALUE_LIMIT)
        return first

    def within(
        self, first: np.ndarray, scale: np.ndarray, offset: np.ndarray, symbols: Symbols
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of blocks and their differences to the means `first`, both [C, P].

        Args:
            first, scale: Means, and scale indexes in 2^-16, by the neighbours [C, P].
            offset: Step offsets [P].
            symbols: Gives those of each group in turn.
        """
        step = steps_of(offset).astype(float)
        here, difference, logs = np.empty_like(first), np.zeros_like(first), np.zeros_like(first)
        for group in self.groups:
            seen = slice(0, group.start)
            within, by_log = (
                self.weights[name][group, seen] for name in ("within", "scale_within")
            )
            index = np.floor((scale[group] + by_log @ logs[seen]) / 2**16)
            index = np.clip(index, 0, SCALE_LEVELS - 1) + offset
            index = np.clip(index, 0, SCALE_LEVELS - 1)
            mean = first[group] + np.floor((within @ difference[seen]) / 2**16 + 0.5)
            mean = np.clip(mean, -VALUE_LIMIT, VALUE_LIMIT)
            new = step * symbols(group, index, mean) + mean
            here[group] = np.clip(new, -VALUE_LIMIT, VALUE_LIMIT)
            difference[group] = here[group] - first[group]
            logs[group] = self._log(difference[group])
        return here, difference

    def _from_neighbours(
        self,
        value: np.ndarray,
        residual: np.ndarray,
        i: np.ndarray,
        j: np.ndarray,
        offset: np.ndarray,
    ) -> Blocks:
        w, columns = self.weights, value.shape[2] - 2
        places = [(slice(None), i + 1 + y, j + 1 + x) for y, x in NEIGHBOURS]
        values = np.stack([value[place] for place in places])
        there = np.stack([(i + y >= 0) & (j + x >= 0) & (j + x < columns) for y, x in NEIGHBOURS])
        logs = self._log(np.concatenate([values, np.stack([residual[place] for place in places])]))
        logs = logs.reshape(-1, len(i))
        count = np.maximum(there[0].astype(int) + there[1], 1)
        average = np.floor((values[0, self.flat] + values[1, self.flat]) / count)
        near = values.copy()
        near[:, self.flat] = (near[:, self.flat] - average) * there[:, None]
        x = near.reshape(-1, len(i))
        h = np.minimum(np.floor(np.maximum(w["enter"] @ x, 0) / 2**12), HIDDEN_LIMIT)
        h = np.floor(np.maximum(h + (w["middle"] @ h) / 2**16, 0))
        h = np.minimum(h, HIDDEN_LIMIT)
        first = np.floor((w["linear"] @ x + w["leave"] @ h) / 2**16 + 0.5)
        first[self.flat] += average
        first = np.clip(first, -VALUE_LIMIT, VALUE_LIMIT)
        s = np.maximum(w["scale_enter"] @ logs + w["scale_bias"][:, None], 0)
        s = np.minimum(np.floor(s / 2**10), SCALE_LIMIT)
        scale = w["scale_leave"] @ s + w["scale_linear"] @ logs
        scale += w["scale_hidden"] @ self._log(np.floor(h / 32))
        scale += self.fixed[:, None] + 64 * (w["absent"] @ ~there)
        return Blocks(i, j, values, first, scale, offset)

    def _log(self, value: np.ndarray) -> np.ndarray:
        logs: np.ndarray = self.logs[np.minimum(np.abs(value), VALUE_LIMIT).astype(np.int64)]
        return logs
