"""Symbols and directions of a low-pass frame's blocks, chosen by rate and distortion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from torch import Tensor

from innvc.bitstream.directions import NONE
from innvc.bitstream.intra import BlockChooser, Blocks, ExactIntra
from innvc.bitstream.step_offsets import steps_of
from innvc.compiled import compiled
from innvc.fit.symbol_costs import TABLED, symbol_costs
from innvc.model.contexts import RESIDUAL_LIMIT
from innvc.model.motion import in_quarters
from innvc.model.quantisation import SCALE_LEVELS, step_penalties

TRIED = 8  # directions of a block that are coded on trial


class Remembered:
    """Gives what a chooser found in one pass over the blocks once more in later ones."""

    def __init__(self, chooser: BlockChooser) -> None:
        self._chooser = chooser
        self._found: list[np.ndarray] = []
        self._again: Iterator[np.ndarray] | None = None

    def again(self) -> None:
        """The next pass begins."""
        self._again = iter(self._found)

    def directions(self, blocks: Blocks, bits: np.ndarray) -> np.ndarray:
        return self._answer(lambda: self._chooser.directions(blocks, bits))

    def symbols(
        self, rows: slice, i: np.ndarray, j: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        return self._answer(lambda: self._chooser.symbols(rows, i, j, scale, mean))

    def _answer(self, ask: Callable[[], np.ndarray]) -> np.ndarray:
        if self._again is not None:
            return next(self._again)
        self._found.append(ask())
        return self._found[-1]


class BlockRounding:
    """Chooses symbols and directions (see `bitstream.intra.BlockChooser`).

    Args:
        intra: The prior of low-pass frames.
        latent: Of the low-pass frame, in steps of the channels [C, H, W].
        weight: Bits that a squared error of one step is worth, of the same shape.
        offsets: Step offsets [H, W].
    """

    def __init__(
        self, intra: ExactIntra, latent: Tensor, weight: Tensor, offsets: np.ndarray
    ) -> None:
        self._intra = intra
        step = in_quarters(steps_of(offsets) / 16)
        self._latent = intra.layout.blocks(latent).cpu().double().numpy() / step
        self._weight = intra.layout.blocks(weight).cpu().double().numpy() * step**2
        self._step = 16 * step

    def symbols(
        self, rows: slice, i: np.ndarray, j: np.ndarray, scale: np.ndarray, mean: np.ndarray
    ) -> np.ndarray:
        return self._choose(rows, i, j, scale, mean, np.zeros(len(i)))

    def _choose(
        self,
        rows: slice,
        i: np.ndarray,
        j: np.ndarray,
        scale: np.ndarray,
        mean: np.ndarray,
        total: np.ndarray,
    ) -> np.ndarray:
        """Symbols; their bits and weighted errors are added to `total` [P]."""
        found = np.empty(mean.shape, np.int32)
        here = self._latent[rows], self._weight[rows], self._step, i, j, scale, mean
        _round(*here, _penalties(), _costs(), found, total)
        return found

    def directions(self, blocks: Blocks, bits: np.ndarray) -> np.ndarray:
        inside = np.flatnonzero(np.isfinite(bits[1:]).all(0))
        result = np.full(len(blocks.i), NONE)
        if not len(inside):
            return result
        promising = self._promising(blocks, inside, bits[1:, inside])
        # No direction, and the others, side by side.
        tried = np.concatenate([np.full((1, len(inside)), NONE), promising])
        cost = self._on_trial(blocks, np.tile(inside, len(tried)), tried.ravel())
        cost = cost.reshape(tried.shape) + bits[1 + tried, inside]
        result[inside] = tried[cost.argmin(0), np.arange(len(inside))]
        return result

    def _promising(self, blocks: Blocks, inside: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """The directions [TRIED, P] that cost least where the networks' scales are kept."""
        assert self._intra.directions is not None
        i, j = blocks.i[inside], blocks.j[inside]
        step = self._step[i, j]
        index = np.floor(blocks.scale[:, inside] / 2**16).clip(0, SCALE_LEVELS - 1)
        index = (index + blocks.offset[inside]).clip(0, SCALE_LEVELS - 1).astype(np.int32)
        total = bits.copy()
        for channels, means in self._intra.directions.predict_all(blocks.near[..., inside]):
            wanted = self._latent[channels][:, i, j] - means / step
            weight, scale = self._weight[channels][:, i, j], index[channels][None]
            size = abs(wanted).astype(np.float32)
            nearest = np.floor(size + 0.5)
            best = np.float32(np.inf)
            for symbol in (nearest, np.maximum(nearest - 1, 0)):
                found = symbol_costs(symbol.astype(np.int32), scale) + weight * (size - symbol) ** 2
                best = np.minimum(best, found)
            total += best.sum(1)
        return np.argpartition(total, TRIED - 1, axis=0)[:TRIED]

    def _on_trial(self, blocks: Blocks, which: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Bits and weighted errors [n] of some of the blocks, each coded in a direction."""
        parts = blocks.near, blocks.first, blocks.scale, blocks.offset
        here = Blocks(blocks.i[which], blocks.j[which], *(part[..., which] for part in parts))
        total = np.zeros(len(which))

        def symbols(group: slice, index: np.ndarray, mean: np.ndarray) -> np.ndarray:
            return self._choose(group, here.i, here.j, index, mean, total)

        first = self._intra.directed(here, direction)
        self._intra.within(first, here.scale, here.offset, symbols)
        return total


@cache
def _penalties() -> np.ndarray:
    return step_penalties().numpy()


@cache
def _costs() -> np.ndarray:
    """[SCALE_LEVELS, TABLED] bits of magnitudes (float32)."""
    return symbol_costs(np.arange(TABLED), np.arange(SCALE_LEVELS)[:, None])


@compiled
def _round(
    latent: np.ndarray,
    weight: np.ndarray,
    step: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    penalties: np.ndarray,
    costs: np.ndarray,
    symbols: np.ndarray,
    total: np.ndarray,
) -> None:
    """Rounds as `RateAwareRounding`, and adds what it costs.

    Args:
        latent, weight: Of the channels [C, rows, columns].
        step: [rows, columns].
        i, j: Rows and columns of blocks [P].
        scale, mean: [C, P].
        penalties, costs: Of magnitudes by scale index.
        symbols: Takes the symbols [C, P].
        total: Bits and weighted errors are added to it [P].
    """
    most = penalties.shape[1] - 1
    for p in range(len(i)):
        cost = 0.0
        for c in range(len(mean)):
            wanted = latent[c, i[p], j[p]] - mean[c, p] / step[i[p], j[p]]
            limited = min(max(wanted, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
            size, own = abs(limited), weight[c, i[p], j[p]]
            nearest = np.floor(size + 0.5)
            if own * (2 * (size - nearest) + 1) < penalties[scale[c, p], min(int(nearest), most)]:
                nearest -= 1
            symbols[c, p] = int(nearest if limited > 0 else -nearest)
            bits = costs[scale[c, p], min(int(nearest), TABLED - 1)]
            cost += bits + own * (wanted - symbols[c, p]) ** 2
        total[p] += cost
