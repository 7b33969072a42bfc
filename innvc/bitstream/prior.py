"""The latent prior of one subband frame, group by group (docs/format.md, section 12).

The sums of `model.prior.LatentPrior`, in integer-valued float64, where every sum is exact whatever
its order. Products of matrices are NumPy's, whose library is the fastest for thin ones; what is
small is compiled. Positions without symbols have means, but no scale indexes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.bitstream.dependent import SymbolCoder
from innvc.bitstream.intra_sums import LOGARITHMS, limit
from innvc.bitstream.prior_sums import ABSENT, find_logs, look_beside, predict, settle
from innvc.bitstream.step_offsets import steps_of
from innvc.errors import UnsupportedError
from innvc.model.contexts import LARGEST_LOG, Context, second_half
from innvc.model.prior import HIDDEN_LIMIT, WEIGHT_BITS, LatentPrior


class _Part(NamedTuple):
    """Rows of a matrix, without the columns that are zero in all of them."""

    rows: slice
    columns: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, rows: slice) -> _Part:
        columns = np.flatnonzero(matrix[rows].any(0))
        return cls(rows, columns, np.ascontiguousarray(matrix[rows][:, columns]))


class ExactPrior:
    """The latent prior, ready for coding, on the CPU.

    Args:
        prior: Its network.
        layers: Groups of each layer.
        planes: Of the channels, for dependent quantisation.
        states: Of the paths of dependent quantisation.

    Raises:
        UnsupportedError: a sum could leave the range in which float64 is exact.
    """

    def __init__(
        self,
        prior: LatentPrior,
        layers: Sequence[int],
        planes: np.ndarray | None = None,
        states: int = 8,
    ) -> None:
        self.symbols = SymbolCoder(planes, states)
        self.network = prior.cpu().double()
        self.config = prior.config
        with torch.no_grad():
            self.weights = self.network.weights()
        if self.network.largest_sum(self.weights) >= 2.0**53:
            raise UnsupportedError("The latent prior's weights are too large to be exact.")
        ends = np.cumsum([0, *prior.groups]).tolist()
        slices = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        bounds = np.cumsum([0, *layers]).tolist()
        self.layers = [slices[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        self.channels = ends[-1]
        self.halved = sum(prior.groups[: self.config.halves])
        self.reach = sum(prior.groups[: self.config.reach])
        # Matrices of what is laid out channel by channel.
        w = {name: weight.numpy() for name, weight in self.weights.items()}
        if self.config.energy:
            self.by_log = np.stack([w["spectral"], w["surround"]], 2).reshape(self.channels, -1)
            self.by_value = w["predict_mean"]
        if self.config.reach:
            self.by_neighbour = w["reach"].transpose(1, 2, 0).reshape(self.channels, -1)
        if self.config.halves:
            self.half_base, self.half_scale = w["half_base"], w["half_scale"]
            self.half_mean = w["half_mean"].transpose(1, 2, 0).reshape(self.halved, -1)
        if self.config.scale_units:
            self.unit_bias, self.by_unit = w["scale_bias"], w["scale_leave"]
            enter = w["scale_enter"]
            self.unit_by_log = enter[:, :2].transpose(0, 2, 1).reshape(len(enter), -1)
            # Small sums are exact in float32, too, which is twice as fast.
            most = LARGEST_LOG * abs(enter).sum((1, 2)) + abs(self.unit_bias).max(0)
            enter = enter.astype(np.float32 if most.max() < 2.0**24 else np.float64)
            counts = np.cumsum([0, *layers]) * self.config.scale_units
            parts = [slice(a, b) for a, b in pairwise(counts.tolist())]
            self.unit_by_other = [
                [_Part.of(enter[:, n], part) for part in parts] for n in range(2, 8)
            ]
        if self.config.hidden:
            self.hidden_bias = w["hidden_bias"]
            self.enter = w["hidden_weight"].reshape(len(self.hidden_bias), -1)
            self.leave = w["output_weight"].reshape(2, self.channels, -1)

    def empty(self, size: tuple[int, int]) -> Context:
        """A subband frame [1, C, H, W] of zeros."""
        zero = torch.zeros(1, self.channels, *size)
        return Context(zero, zero, zero)


class FramePrior:
    """Scale indexes and means of one subband frame while it is coded.

    Args:
        exact: The prior.
        level: Lifting level.
        parent, sibling, low: Contexts of decoded subband frames, zero where there is none; the
            last of the packet's low-pass frame.
        grid: Integers of the field's grid [1, E, H, W], if they are a context.
        offset: Of scale indexes [H, W].
        skip: Positions without symbols [H, W].

    Attributes:
        scale, mean: Scale indexes (int64) and means in sixteenths [C, H W], as far as known.
    """

    def __init__(
        self,
        exact: ExactPrior,
        level: int,
        parent: Context,
        sibling: Context,
        low: Context,
        grid: Tensor | None,
        offset: np.ndarray,
        skip: np.ndarray,
    ) -> None:
        self._exact, size = exact, offset.shape
        self._values = np.zeros((exact.channels, *size))
        self._own, self._around = np.zeros((2, exact.channels, *size), np.float32)
        every, levels = slice(0, exact.channels), torch.tensor([level])
        scale, mean = exact.network.outside(exact.weights, every, levels, parent, sibling, grid)
        # Scales are found at the positions with symbols alone, and these have places.
        kept = np.flatnonzero(~skip.ravel())
        self._place = np.full(skip.size, ABSENT)
        self._place[kept] = np.arange(len(kept))
        self._scale = scale[0].flatten(1).numpy()[:, kept]
        self._mean = mean[0].flatten(1).numpy()
        self._logs = np.zeros((exact.channels, 2, len(kept)))
        self._offset = offset.ravel().astype(np.int64)
        self._step = steps_of(offset).ravel()
        self.scale = np.zeros(self._mean.shape, np.int64)
        self.mean = np.zeros(self._mean.shape)
        second = second_half(*size).numpy().ravel()
        positions = np.arange(skip.size)
        self._whole = [positions]
        self._halves = [positions[~second], positions[second]][: 1 + second.any()]
        # Neighbours of all positions, and of the second half of them.
        self._beside = np.zeros((exact.reach, 4, skip.size))
        self._half_beside = np.zeros((exact.halved, 4, len(self._halves[-1])))
        self._half_near = np.zeros((exact.halved, len(self._halves[-1])))
        units = exact.config.hidden * len(exact.network.groups)
        self._hidden = np.zeros((units, skip.size))
        if exact.config.scale_units:
            self._units = self._from_others(level, (parent, sibling, low), kept)

    def _from_others(self, level: int, contexts: Sequence[Context], kept: np.ndarray) -> np.ndarray:
        """Sums of the scale network's units [U, n] without this subband frame."""
        exact = self._exact
        sums: np.ndarray = exact.unit_bias[level][:, None].repeat(len(kept), 1)
        logs = [log for context in contexts for log in (context.own, context.around)]
        for parts, log in zip(exact.unit_by_other, logs, strict=True):
            if log.any():
                seen = _flat(log[0].numpy())[:, kept]
                for rows, columns, weights in parts:
                    sums[rows] += weights @ seen[columns].astype(weights.dtype)
        return sums

    def context(self) -> Context:
        """What later frames read [1, C, H, W]; zero where nothing is coded yet."""
        parts = (self._values, self._own, self._around)
        return Context(*(torch.from_numpy(part)[None].float() for part in parts))

    def passes(self, rows: slice) -> list[np.ndarray]:
        """The positions that are coded together, in order."""
        return self._halves if rows.start < self._exact.halved else self._whole

    def begin(self, rows: slice) -> None:
        """Adds what the channels `rows` of a group read of the groups before."""
        exact, seen = self._exact, rows.start
        if exact.config.energy and seen:
            logs = _flat(self._logs[:seen], 2)
            self._scale[rows] += exact.by_log[rows, : 2 * seen] @ logs
            self._mean[rows] += exact.by_value[rows, :seen] @ _flat(self._values[:seen])
        if exact.reach and seen:
            sources = min(seen, exact.reach)
            beside = _flat(self._beside[:sources], 2)
            self._mean[rows] += exact.by_neighbour[rows, : 4 * sources] @ beside
        if exact.config.scale_units:
            self._add_units(rows)
        if exact.config.hidden:
            self._add_hidden(rows)

    def _add_units(self, rows: slice) -> None:
        """The scale network: its units of this group, and what those up to here say."""
        exact, seen = self._exact, rows.start
        group = int(exact.network.group_of[rows.start])
        units = slice(group * exact.config.scale_units, (group + 1) * exact.config.scale_units)
        if seen:
            self._units[units] += exact.unit_by_log[units, : 2 * seen] @ _flat(self._logs[:seen], 2)
        limit(self._units[units], 2.0**4, HIDDEN_LIMIT)
        told = exact.by_unit[rows, : units.stop] @ self._units[: units.stop]
        self._scale[rows] += np.floor(told / 2**6)

    def _add_hidden(self, rows: slice) -> None:
        """The masked convolution: 3x3 over earlier groups, ReLU, 1x1 over units up to here."""
        exact, seen, one = self._exact, rows.start, float(1 << WEIGHT_BITS)
        group = int(exact.network.group_of[rows.start])
        units = slice(group * exact.config.hidden, (group + 1) * exact.config.hidden)
        sums = exact.hidden_bias[units, None]
        if seen:
            windows = F.unfold(torch.from_numpy(self._values[None, :seen]), 3, padding=1)[0]
            sums = sums + exact.enter[units, : 9 * seen] @ windows.numpy()
        self._hidden[units] = np.floor(np.maximum(sums, 0) / one).clip(max=HIDDEN_LIMIT)
        by_scale, by_mean = exact.leave[:, rows, : units.stop]
        hidden = self._hidden[: units.stop]
        self._scale[rows] += by_scale @ hidden[:, self._place != ABSENT]
        self._mean[rows] += by_mean @ hidden

    def half(self, rows: slice) -> None:
        """Adds what the second half of the positions reads of the first, of groups up to here."""
        exact, seen, second = self._exact, rows.stop, self._halves[1]
        beside, near = self._half_beside, self._half_near
        look_beside(self._values[rows], second, LOGARITHMS, beside[rows], near[rows])
        self._mean[rows, second] += exact.half_mean[rows, : 4 * seen] @ _flat(beside[:seen], 2)
        kept = self._place[second] != ABSENT
        more = exact.half_scale[rows, :seen] @ near[:seen, kept] + exact.half_base[rows, None]
        self._scale[rows, self._place[second[kept]]] += more

    def predict(self, rows: slice, positions: np.ndarray) -> None:
        """Finds `scale` and `mean` at positions, where the values become the means."""
        predict(
            self._scale[rows],
            self._mean[rows],
            positions,
            self._place,
            self._offset,
            self.scale[rows],
            self.mean[rows],
            _flat(self._values[rows]),
        )

    def settle(self, rows: slice, positions: np.ndarray, half_steps: np.ndarray) -> None:
        """Adds half steps [channels, n] to the means at positions [n]."""
        values = _flat(self._values[rows])
        settle(half_steps, positions, self._step, self.mean[rows], values)

    def end(self, rows: slice) -> None:
        """Makes a group a context of later ones."""
        own, around, logs = self._own[rows], self._around[rows], self._logs[rows]
        find_logs(self._values[rows], LOGARITHMS, self._place, own, around, logs)
        if rows.stop <= self._exact.reach:
            beside = self._beside[rows]
            near = np.empty((len(beside), beside.shape[2]))
            look_beside(self._values[rows], self._whole[0], LOGARITHMS, beside, near)


def _flat(x: np.ndarray, first: int = 1) -> np.ndarray:
    """The first axes as one, and the others as one."""
    return x.reshape(math.prod(x.shape[:first]), -1)
