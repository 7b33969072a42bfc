"""Latent symbols of a low-pass frame in wavefronts of blocks (docs/format.md).

The same function codes and decodes, in integer-valued float64: every sum is exact.
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
from innvc.compiled import compiled
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
            self.weights = {name: weight.numpy() for name, weight in prior.weights().items()}
        self.layout = prior.layout
        self.merged = prior.merged
        self.flat = prior.flat.numpy()
        ends = np.cumsum([0, *prior.groups]).tolist()
        self.groups = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        base, slope = self.weights["base"], self.weights["slope"]
        self.fixed = 64 * (base - prior.step_base * slope)[:, None]
        # What a block's later groups read of its earlier ones.
        self._within = self.weights["within"], self.weights["scale_within"]
        self.directions = Directions(prior.frequencies) if directions else None
        if self.largest_sum() >= 2.0**53:
            raise UnsupportedError("The intra prior's weights are too large to be exact.")

    def largest_sum(self) -> float:
        """Bound on every integer that arises."""
        sums = {n: float(abs(w).reshape(len(w), -1).sum(1).max()) for n, w in self.weights.items()}
        enter = 2 * VALUE_LIMIT * sums["enter"]
        middle = HIDDEN_LIMIT * (2**16 + sums["middle"])
        mean = 2 * VALUE_LIMIT * sums["linear"] + HIDDEN_LIMIT * sums["leave"]
        within = 2 * VALUE_LIMIT * sums["within"]
        units = LARGEST_LOG * sums["scale_enter"] + sums["scale_bias"]
        logs = sums["scale_linear"] + sums["scale_hidden"] + sums["scale_within"]
        scale = SCALE_LIMIT * sums["scale_leave"] + LARGEST_LOG * logs
        scale += float(abs(self.fixed).max()) + 64 * sums["absent"]
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
                found.append(coder.code(index.ravel(), given, adaptive))
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
        here, difference, logs = (np.zeros_like(first) for _ in range(3))
        step = steps_of(offset)
        for group in self.groups:
            index = np.empty(first[group].shape, np.int64)
            mean = np.empty(index.shape)
            _predict(
                *self._within,
                group.start,
                first,
                difference,
                scale,
                logs,
                offset,
                index,
                mean,
            )
            found = symbols(group, index, mean)
            _settle(found, group.start, step, mean, first, _logarithms, here, difference, logs)
        return here, difference

    def _from_neighbours(
        self,
        value: np.ndarray,
        residual: np.ndarray,
        i: np.ndarray,
        j: np.ndarray,
        offset: np.ndarray,
    ) -> Blocks:
        w, count = self.weights, len(i)
        channels = len(value)
        near = np.empty((4, channels, count))  # less the average
        logs = np.empty((8, channels, count))
        absent = np.empty((4, count))
        values = np.empty(near.shape)
        average = np.empty((len(self.flat), count))
        _look(value, residual, i, j, self.flat, _logarithms, values, near, logs, absent, average)
        x, sizes = near.reshape(-1, count), logs.reshape(-1, count)
        h = w["enter"] @ x
        _limit(h, 2.0**12, HIDDEN_LIMIT)
        h += np.floor((w["middle"] @ h) / 2**16)  # h is whole
        _limit(h, 1.0, HIDDEN_LIMIT)
        first = w["linear"] @ x + w["leave"] @ h
        _round_means(first, self.flat, average)
        s = w["scale_enter"] @ sizes + w["scale_bias"][:, None]
        _limit(s, 2.0**10, SCALE_LIMIT)
        scale = self.fixed + w["scale_leave"] @ s + w["scale_linear"] @ sizes
        _find_logs(h, 32.0, _logarithms)
        scale += w["scale_hidden"] @ h + 64 * (w["absent"] @ absent)
        return Blocks(i, j, values, first, scale, offset)


_logarithms = log_table().numpy().astype(np.uint8)


@compiled
def _look(
    value: np.ndarray,
    residual: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    flat: np.ndarray,
    logarithms: np.ndarray,
    values: np.ndarray,
    near: np.ndarray,
    logs: np.ndarray,
    absent: np.ndarray,
    average: np.ndarray,
) -> None:
    """What the networks read of the neighbours of blocks.

    Args:
        value, residual: Of all blocks [C, rows + 1, columns + 2], see `ExactIntra.code`.
        i, j: Of the blocks [P].
        flat: Channels of averages [F].
        values: Takes the values of the neighbours [4, C, P].
        near: Takes them less the average of those on the left and above, if flat.
        logs: Takes log-magnitudes of the values, and of the residuals [8, C, P].
        absent: Takes whether a neighbour is outside of the frame [4, P].
        average: Takes the averages [F, P].
    """
    columns = value.shape[2] - 2
    for n, (y, x) in enumerate(NEIGHBOURS):
        for p in range(len(i)):
            outside = i[p] + y < 0 or j[p] + x < 0 or j[p] + x >= columns
            absent[n, p] = 1.0 if outside else 0.0
        for c in range(len(value)):
            for p in range(len(i)):
                row, column = i[p] + 1 + y, j[p] + 1 + x
                values[n, c, p] = near[n, c, p] = value[c, row, column]
                logs[n, c, p] = logarithms[np.int64(abs(value[c, row, column]))]
                logs[4 + n, c, p] = _log(residual[c, row, column], logarithms)
    for f, c in enumerate(flat):
        for p in range(len(i)):
            there = 2 - absent[0, p] - absent[1, p]
            average[f, p] = np.floor((values[0, c, p] + values[1, c, p]) / max(there, 1.0))
            for n in range(4):
                near[n, c, p] = 0.0 if absent[n, p] else near[n, c, p] - average[f, p]


@compiled
def _log(value: float, logarithms: np.ndarray) -> float:
    result: float = logarithms[np.int64(min(abs(value), VALUE_LIMIT))]
    return result


@compiled
def _limit(x: np.ndarray, unit: float, limit: float) -> None:
    """Makes sums [n, P] whole units from 0 to a limit."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            x[n, p] = min(np.floor(max(x[n, p], 0.0) / unit), limit)


@compiled
def _find_logs(x: np.ndarray, unit: float, logarithms: np.ndarray) -> None:
    """Makes sizes [n, P] log-magnitudes of their whole units."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            x[n, p] = _log(np.floor(x[n, p] / unit), logarithms)


@compiled
def _round_means(sums: np.ndarray, flat: np.ndarray, average: np.ndarray) -> None:
    """Makes sums in 2^-16 [C, P] means, to which averages are added."""
    for c in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            sums[c, p] = np.floor(sums[c, p] / 2.0**16 + 0.5)
    for f, c in enumerate(flat):
        for p in range(sums.shape[1]):
            sums[c, p] += average[f, p]
    for c in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            sums[c, p] = min(max(sums[c, p], -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def _predict(
    within: np.ndarray,
    by_log: np.ndarray,
    start: int,
    first: np.ndarray,
    difference: np.ndarray,
    scale: np.ndarray,
    logs: np.ndarray,
    offset: np.ndarray,
    index: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Scale indexes and means [channels, P] of a group from channel `start`.

    Args:
        within, by_log: Weights of the channels before [C, C].
        first, scale: As of `Blocks` [C, P].
        difference, logs: Of the channels before to `first`, and their log-magnitudes [C, P].
        offset: Step offsets [P].
    """
    blocks = index.shape[1]
    more, louder = np.empty(blocks), np.empty(blocks)
    for n in range(len(index)):
        c = start + n
        for p in range(blocks):
            more[p], louder[p] = 0.0, scale[c, p]
        for k in range(start):
            if within[c, k] != 0.0 or by_log[c, k] != 0.0:
                for p in range(blocks):
                    more[p] += within[c, k] * difference[k, p]
                    louder[p] += by_log[c, k] * logs[k, p]
        for p in range(blocks):
            own = min(max(np.floor(louder[p] / 2.0**16), 0.0), SCALE_LEVELS - 1.0)
            index[n, p] = min(max(np.int64(own) + offset[p], 0), SCALE_LEVELS - 1)
            found = first[c, p] + np.floor(more[p] / 2.0**16 + 0.5)
            mean[n, p] = min(max(found, -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def _settle(
    symbols: np.ndarray,
    start: int,
    step: np.ndarray,
    mean: np.ndarray,
    first: np.ndarray,
    logarithms: np.ndarray,
    here: np.ndarray,
    difference: np.ndarray,
    logs: np.ndarray,
) -> None:
    """Values of a group by its symbols [channels, P], and what later groups read of them."""
    for n in range(symbols.shape[0]):
        c = start + n
        for p in range(symbols.shape[1]):
            value = mean[n, p] + float(step[p] * np.int64(symbols[n, p]))
            here[c, p] = min(max(value, -VALUE_LIMIT), VALUE_LIMIT)
            difference[c, p] = here[c, p] - first[c, p]
            logs[c, p] = _log(difference[c, p], logarithms)
