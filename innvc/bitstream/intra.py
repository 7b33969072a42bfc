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
from innvc.bitstream.intra_sums import (
    LOGARITHMS,
    find_logs,
    limit,
    look,
    predict,
    round_means,
    settle,
)
from innvc.bitstream.step_offsets import steps_of
from innvc.bitstream.wavefront import wavefront
from innvc.errors import UnsupportedError
from innvc.model.contexts import LARGEST_LOG, VALUE_LIMIT
from innvc.model.directions import Directions
from innvc.model.intra import HIDDEN_LIMIT, SCALE_LIMIT, IntraPrior

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
            predict(
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
            settle(found, group.start, step, mean, first, LOGARITHMS, here, difference, logs)
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
        look(value, residual, i, j, self.flat, LOGARITHMS, values, near, logs, absent, average)
        x, sizes = near.reshape(-1, count), logs.reshape(-1, count)
        h = w["enter"] @ x
        limit(h, 2.0**12, HIDDEN_LIMIT)
        h += np.floor((w["middle"] @ h) / 2**16)  # h is whole
        limit(h, 1.0, HIDDEN_LIMIT)
        first = w["linear"] @ x + w["leave"] @ h
        round_means(first, self.flat, average)
        s = w["scale_enter"] @ sizes + w["scale_bias"][:, None]
        limit(s, 2.0**10, SCALE_LIMIT)
        scale = self.fixed + w["scale_leave"] @ s + w["scale_linear"] @ sizes
        find_logs(h, 32.0, LOGARITHMS)
        scale += w["scale_hidden"] @ h + 64 * (w["absent"] @ absent)
        return Blocks(i, j, values, first, scale, offset)
