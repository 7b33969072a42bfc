"""The latent prior of one subband frame, group by group (docs/format.md, section 9).

The sums of `model.prior.LatentPrior`, in integer-valued float64, where every sum is exact whatever
its order. What is small is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from innvc.bitstream.dependent import SymbolCoder
from innvc.bitstream.step_offsets import steps_of
from innvc.compiled import compiled
from innvc.errors import UnsupportedError
from innvc.model.contexts import VALUE_LIMIT, Context, log_table, second_half
from innvc.model.prior import HIDDEN_LIMIT, WEIGHT_BITS, LatentPrior
from innvc.model.quantisation import SCALE_LEVELS


class ExactPrior:
    """The latent prior, ready for coding, on the CPU.

    Args:
        prior: Its network.
        layers: Groups of each layer.
        planes: Of the channels, for dependent quantisation.

    Raises:
        UnsupportedError: a sum could leave the range in which float64 is exact.
    """

    def __init__(
        self, prior: LatentPrior, layers: Sequence[int], planes: np.ndarray | None = None
    ) -> None:
        self.symbols = SymbolCoder(planes)
        self.network = prior.cpu().double()
        self.config = prior.config
        if self.network.largest_sum() >= 2.0**53:
            raise UnsupportedError("The latent prior's weights are too large to be exact.")
        with torch.no_grad():
            self.weights = self.network.weights()
        ends = np.cumsum([0, *prior.groups]).tolist()
        slices = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        bounds = np.cumsum([0, *layers]).tolist()
        self.layers = [slices[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        self.channels = ends[-1]
        self.halved = sum(prior.groups[: self.config.halves])
        self.reach = sum(prior.groups[: self.config.reach])
        # Matrices of what is laid out channel by channel.
        w = self.weights
        if self.config.energy:
            self.by_log = torch.stack([w["spectral"], w["surround"]], 2).flatten(1)
        if self.config.reach:
            self.by_neighbour = w["reach"].permute(1, 2, 0).flatten(1)
        if self.config.halves:
            self.half_mean = w["half_mean"].permute(1, 2, 0).flatten(1)
        if self.config.hidden:
            self.enter = w["hidden_weight"].flatten(1)
            self.leave = w["output_weight"].view(2, self.channels, -1)

    def empty(self, size: tuple[int, int]) -> Context:
        """A subband frame [1, C, H, W] of zeros."""
        zero = torch.zeros(1, self.channels, *size, dtype=torch.float64)
        return Context(zero, zero.clone(), zero.clone())


class FramePrior:
    """Scale indexes and means of one subband frame while it is coded.

    Args:
        exact: The prior.
        level: Lifting level.
        parent, sibling: Contexts of decoded subband frames, zero where there is none.
        grid: Integers of the field's grid [1, E, H, W], if they are a context.
        offset: Of scale indexes [H, W].

    Attributes:
        context: What later frames read [1, C, H, W]; zero where nothing is coded yet.
        scale, mean: Scale indexes (int64) and means in sixteenths, as far as known [C, H W].
    """

    def __init__(
        self,
        exact: ExactPrior,
        level: int,
        parent: Context,
        sibling: Context,
        grid: Tensor | None,
        offset: np.ndarray,
    ) -> None:
        self._exact, size = exact, offset.shape
        self.context = exact.empty(size)
        self._values = self.context.value[0]
        self._logs = torch.zeros(exact.channels, 2, *size, dtype=torch.float64)
        every, levels = slice(0, exact.channels), torch.tensor([level])
        sums = exact.network.outside(exact.weights, every, levels, parent, sibling, grid)
        self._scale, self._mean = (s[0].flatten(1).contiguous() for s in sums)
        self._offset = offset.ravel().astype(np.int64)
        self._step = steps_of(offset).ravel()
        self.scale = np.zeros(self._scale.shape, np.int64)
        self.mean = np.zeros(self.scale.shape)
        places = np.arange(len(self._offset))
        second = second_half(*size).numpy().ravel()
        self._whole, self._halves = [places], [places[~second], places[second]][: 1 + second.any()]
        neighbours = max(exact.halved, exact.reach)
        self._beside = torch.zeros(neighbours, 4, *size, dtype=torch.float64)
        self._near = torch.zeros(neighbours, *size, dtype=torch.float64)
        units = exact.config.hidden * len(exact.network.groups)
        self._hidden = torch.zeros(units, len(places), dtype=torch.float64)

    def passes(self, rows: slice) -> list[np.ndarray]:
        """The positions that are coded together, in order."""
        return self._halves if rows.start < self._exact.halved else self._whole

    def begin(self, rows: slice) -> None:
        """Adds what the channels `rows` of a group read of the groups before."""
        exact, seen = self._exact, rows.start
        if exact.config.energy and seen:
            logs = self._logs[:seen].flatten(0, 1).flatten(1)
            self._scale[rows].addmm_(exact.by_log[rows, : 2 * seen], logs)
            values = self._values[:seen].flatten(1)
            self._mean[rows].addmm_(exact.weights["predict_mean"][rows, :seen], values)
        if exact.reach and seen:
            sources = min(seen, exact.reach)
            beside = self._beside[:sources].flatten(0, 1).flatten(1)
            self._mean[rows].addmm_(exact.by_neighbour[rows, : 4 * sources], beside)
        if exact.config.hidden:
            self._add_hidden(rows)

    def _add_hidden(self, rows: slice) -> None:
        """The masked convolution: 3x3 over earlier groups, ReLU, 1x1 over units up to here."""
        exact, seen, one = self._exact, rows.start, float(1 << WEIGHT_BITS)
        group = int(exact.network.group_of[rows.start])
        units = slice(group * exact.config.hidden, (group + 1) * exact.config.hidden)
        sums = exact.weights["hidden_bias"][units, None].expand(-1, len(self._offset))
        if seen:
            windows = F.unfold(self._values[None, :seen], 3, padding=1)[0]
            sums = sums + exact.enter[units, : 9 * seen] @ windows
        self._hidden[units] = torch.floor(F.relu(sums) / one).clamp(max=HIDDEN_LIMIT)
        for matrix, target in zip(exact.leave, (self._scale, self._mean), strict=True):
            target[rows].addmm_(matrix[rows, : units.stop], self._hidden[: units.stop])

    def half(self, rows: slice) -> None:
        """Adds what the second half of the positions reads of the first, of groups up to here."""
        exact, seen = self._exact, rows.stop
        self._look_beside(rows)
        near = self._near[:seen].flatten(1)
        self._scale[rows].addmm_(exact.weights["half_scale"][rows, :seen], near)
        self._scale[rows] += exact.weights["half_base"][rows, None]
        beside = self._beside[:seen].flatten(0, 1).flatten(1)
        self._mean[rows].addmm_(exact.half_mean[rows, : 4 * seen], beside)

    def predict(self, rows: slice, places: np.ndarray) -> None:
        """Finds `scale` and `mean` at positions, where the values become the means."""
        _predict(
            self._scale[rows].numpy(),
            self._mean[rows].numpy(),
            places,
            self._offset,
            self.scale[rows],
            self.mean[rows],
            self._flat(rows),
        )

    def settle(self, rows: slice, places: np.ndarray, half_steps: np.ndarray) -> None:
        """Adds half steps [channels, n] to the means at positions [n]."""
        _settle(half_steps, places, self._step, self.mean[rows], self._flat(rows))

    def _flat(self, rows: slice) -> np.ndarray:
        return self._values[rows].flatten(1).numpy()

    def end(self, rows: slice) -> None:
        """Makes a group a context of later ones."""
        values, logs = self._values[rows].numpy(), self._logs[rows].numpy()
        _find_logs(values, _logarithms, logs)
        self.context.own[0, rows], self.context.around[0, rows] = self._logs[rows].unbind(1)
        if rows.stop <= self._exact.reach:
            self._look_beside(rows)

    def _look_beside(self, rows: slice) -> None:
        beside, near = self._beside[rows].numpy(), self._near[rows].numpy()
        _look_beside(self._values[rows].numpy(), _logarithms, beside, near)


_logarithms = log_table().numpy()


@compiled
def _predict(
    scale_sums: np.ndarray,
    mean_sums: np.ndarray,
    places: np.ndarray,
    offset: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    values: np.ndarray,
) -> None:
    one = float(1 << WEIGHT_BITS)
    for c in range(len(scale)):
        for p in places:
            index = min(max(np.floor(scale_sums[c, p] / one), 0), SCALE_LEVELS - 1)
            scale[c, p] = min(max(np.int64(index) + offset[p], 0), SCALE_LEVELS - 1)
            expected = np.floor(mean_sums[c, p] / one + 0.5)
            mean[c, p] = min(max(expected, -VALUE_LIMIT), VALUE_LIMIT)
            values[c, p] = mean[c, p]


@compiled
def _settle(
    half_steps: np.ndarray,
    places: np.ndarray,
    step: np.ndarray,
    mean: np.ndarray,
    values: np.ndarray,
) -> None:
    for c in range(len(half_steps)):
        for i, p in enumerate(places):
            size = abs(np.int64(half_steps[c, i])) * step[p] // 2  # rounded towards zero
            value = mean[c, p] + (size if half_steps[c, i] > 0 else -size)
            values[c, p] = min(max(value, -VALUE_LIMIT), VALUE_LIMIT)


@compiled
def _find_logs(values: np.ndarray, logarithms: np.ndarray, logs: np.ndarray) -> None:
    """Log-magnitudes [C, 2, H, W] of values [C, H, W], and of the mean over their 8 neighbours."""
    channels, height, width = values.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                own, total = abs(values[c, i, j]), 0.0
                for y in range(max(i - 1, 0), min(i + 2, height)):
                    for x in range(max(j - 1, 0), min(j + 2, width)):
                        total += abs(values[c, y, x])
                logs[c, 0, i, j] = logarithms[np.int64(own)]
                logs[c, 1, i, j] = logarithms[np.int64((total - own) / 8)]


@compiled
def _look_beside(
    values: np.ndarray, logarithms: np.ndarray, beside: np.ndarray, near: np.ndarray
) -> None:
    """Values above, below, left and right [C, 4, H, W], and the logarithm of their mean size."""
    channels, height, width = values.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                above = values[c, i - 1, j] if i > 0 else 0.0
                below = values[c, i + 1, j] if i + 1 < height else 0.0
                left = values[c, i, j - 1] if j > 0 else 0.0
                right = values[c, i, j + 1] if j + 1 < width else 0.0
                beside[c, 0, i, j], beside[c, 1, i, j] = above, below
                beside[c, 2, i, j], beside[c, 3, i, j] = left, right
                total = abs(above) + abs(below) + abs(left) + abs(right)
                near[c, i, j] = logarithms[np.int64(total / 4)]
