"""The implicit conditioning field (paper section 3.3): feature grid and ConvNeXt decoder.

Features of a crop are those of the whole picture: each convolution and each upsampling gets the
halo it reads, clipped to the picture, so padding and clamping matter at the picture's borders only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innvc.config import FieldConfig
from innvc.errors import UnsupportedError
from innvc.model.contexts import VALUE_LIMIT
from innvc.model.layers import ConvNeXtBlock, LayerNorm, SampleHead
from innvc.model.prior import LEVELS, WEIGHT_BITS
from innvc.model.quantisation import floor_ste


@dataclass(frozen=True)
class Window:
    """Where subband frames lie: the whole picture, or a crop of it, in latent positions.

    Attributes:
        time: Centre of each subband frame in the segment, 0..1, [N].
        level: Lifting level of each, [N].
        height, width: Of the whole picture, in latent positions.
        top, left, rows, columns: The part that is wanted.
        slices: Time slice of the finest grid level that each frame lies in, [N]; None is unknown.
    """

    time: Tensor
    level: Tensor
    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int
    slices: Tensor | None = None


class ConditioningField(nn.Module):
    """Feature maps for the backbone's modulation, from a grid in time and space.

    The first decoder stage ends at the latent resolution; each further one doubles it.

    Args:
        config: Sizes.
        samples: Channels of the sample head at the finest resolution; 0 is none.

    Raises:
        UnsupportedError: the scales do not lead to the backbone's resolutions.
    """

    def __init__(self, config: FieldConfig, samples: int = 0) -> None:
        super().__init__()
        stages = len(config.channels)
        if not len(config.depths) == len(config.scales) == stages or set(config.scales[1:]) - {2}:
            raise UnsupportedError(
                f"A field with {stages} stages cannot have depths {config.depths} and "
                f"scales {config.scales}.",
                "Give a depth and a scale for each stage; all scales but the first are 2.",
            )
        self.config = config
        self.grid = nn.ParameterList(
            nn.Parameter(torch.zeros(config.grid_channels << level, *_halved(config, level)))
            for level in range(config.grid_levels)
        )
        self.entered = config.grid_stages or (0,) * config.grid_levels
        grid_channels = sum(
            len(grid) for grid, at in zip(self.grid, self.entered, strict=True) if at == 0
        )
        self.stem = nn.Conv2d(grid_channels, config.channels[0], 3, padding=1)
        self.level = nn.Parameter(torch.zeros(LEVELS, config.channels[0]))
        self.stages = nn.ModuleList(_Stage(config, index) for index in range(stages))
        self.head = SampleHead(config.channels[-1], samples) if samples else None

    def forward(self, window: Window) -> Sequence[Tensor]:
        """Feature maps [N, C_k, rows * 2^(K-1-k), columns * 2^(K-1-k)], fine to coarse.

        In a fit on a GPU its products are in bfloat16.
        """
        device = self.level.device.type
        mixed = device == "cuda" and torch.is_grad_enabled()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            return self._maps(window)

    def _maps(self, window: Window) -> Sequence[Tensor]:
        rows = _plan(self.config, window.top, window.rows, window.height)
        columns = _plan(self.config, window.left, window.columns, window.width)
        level = self.level[window.level][:, :, None, None]
        x = self.stem(self._sample(0, window.time, rows.stem, columns.stem)) + level
        at = rows.stem.span, columns.stem.span
        maps = []
        for k, stage in enumerate(self.stages):
            row, column = rows.stages[k], columns.stages[k]
            x = _cut(x, at, (row.source, column.source))
            entering = None
            if k and k in self.entered:
                spans = _Base(row.inner, window.height << k), _Base(column.inner, window.width << k)
                entering = self._sample(k, window.time, *spans)
            x = stage(x, row, column, window.time, entering)
            at = row.inner, column.inner
            maps.append(_cut(x, at, (row.wanted, column.wanted)).to(self.level.dtype))
        return maps[::-1]

    def samples(self, window: Window) -> Tensor:
        """Packed samples [N, C, H, W] of a field with a sample head, in 8-bit code values."""
        assert self.head is not None
        found: Tensor = self.head(self(window)[0])
        return found

    def nearest(self, window: Window, dtype: torch.dtype) -> Tensor:
        """The grid elements in which the latent positions lie, as integers: [N, E, rows, columns].

        They are multiples of 2^-10; E counts the channels of all levels, the finest first.
        """
        assert window.slices is not None
        _, height, width = self.config.grid_size
        rows = window.top + torch.arange(window.rows, device=window.slices.device)
        columns = window.left + torch.arange(window.columns, device=window.slices.device)
        finest = (
            window.slices,
            (2 * rows + 1) * height // (2 * window.height),
            (2 * columns + 1) * width // (2 * window.width),
        )
        levels = []
        for level, grid in enumerate(self.grid):
            places = zip(finest, grid.shape[1:], strict=True)
            t, y, x = ((place >> level).clamp(max=count - 1) for place, count in places)
            whole = floor_ste(grid.to(dtype) * (1 << WEIGHT_BITS) + 0.5)
            levels.append(whole[:, t][:, :, y][..., x])
        return torch.cat(levels).transpose(0, 1).clamp(-VALUE_LIMIT, VALUE_LIMIT)

    def _sample(self, stage: int, time: Tensor, rows: _Base, columns: _Base) -> Tensor:
        """The grid levels that enter a stage, trilinear at times and positions: [N, C, h, w]."""
        levels = []
        for grid, at in zip(self.grid, self.entered, strict=True):
            if at != stage:
                continue
            x = _interpolate(grid, 1, time)
            x = _interpolate(x, 2, rows.centres(x.device))
            levels.append(_interpolate(x, 3, columns.centres(x.device)))
        return torch.cat(levels).transpose(0, 1)


class _Stage(nn.Module):
    """LayerNorm, upsampling, local grid, grid levels that enter here, ConvNeXt blocks."""

    def __init__(self, config: FieldConfig, index: int) -> None:
        super().__init__()
        before, channels = config.channels[max(index - 1, 0)], config.channels[index]
        self.scale = config.scales[index]
        self.norm = LayerNorm()
        self.local = _LocalGrid(config, index, before) if config.local_channels else None
        entering = sum(
            config.grid_channels << level
            for level, stage in enumerate(config.grid_stages)
            if stage == index > 0
        )
        self.entry = nn.Conv2d(entering, before, 1) if entering else None
        self.blocks = nn.Sequential(
            *(
                ConvNeXtBlock(before if i == 0 else channels, channels, config.expansion)
                for i in range(config.depths[index])
            )
        )

    def forward(
        self, x: Tensor, rows: _Step, columns: _Step, time: Tensor, entering: Tensor | None
    ) -> Tensor:
        """Features at the source span, and grid levels at the inner span, to features there."""
        if self.scale > 1:
            x = F.interpolate(self.norm(x), scale_factor=float(self.scale), mode="bilinear")
        else:
            x = self.norm(x)
        at = tuple((s * self.scale, e * self.scale) for s, e in (rows.source, columns.source))
        x = _cut(x, at, (rows.inner, columns.inner))
        if self.local is not None:
            x = x + self.local(time, rows.inner, columns.inner)
        if self.entry is not None and entering is not None:
            x = x + self.entry(entering)
        x = self.blocks(x)
        return x


class _LocalGrid(nn.Module):
    """Features for each sub-pixel phase of an upsampling, from grids in time only.

    Level l is a table [T / 2^l, s s c 2^l] for a scale s and c channels.
    """

    def __init__(self, config: FieldConfig, index: int, out_channels: int) -> None:
        super().__init__()
        self.scale = config.scales[index]
        channels = max(1, config.local_channels >> index)
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(_halved(config, level)[0], self.scale**2 * channels << level))
            for level in range(config.local_levels)
        )
        self.linear = nn.Linear(channels * ((1 << config.local_levels) - 1), out_channels)

    def forward(self, time: Tensor, rows: Span, columns: Span) -> Tensor:
        """Features [N, C, h, w] at the positions of two spans."""
        s = self.scale
        sampled = [_interpolate(t, 0, time).unflatten(1, (s, s, -1)) for t in self.tables]
        x: Tensor = self.linear(torch.cat(sampled, 3)).permute(0, 3, 1, 2)  # [N, C, s, s]
        row, column = (torch.arange(*span, device=x.device) % s for span in (rows, columns))
        return x.index_select(2, row).index_select(3, column)


Span = tuple[int, int]  # half-open range of positions along an axis


class _Step(NamedTuple):
    """A stage along one axis: what it reads, computes and must have right at the end."""

    source: Span  # at the resolution before
    inner: Span  # after upsampling, with the halo that the blocks use up
    wanted: Span


class _Base(NamedTuple):
    """Positions at which grids are read, of a picture with `size` of them."""

    span: Span
    size: int

    def centres(self, device: torch.device) -> Tensor:
        """Their centres, 0..1 over the picture."""
        return (torch.arange(*self.span, dtype=torch.float64, device=device) + 0.5) / self.size


class _Plan(NamedTuple):
    stem: _Base
    stages: list[_Step]


def _plan(config: FieldConfig, start: int, count: int, size: int) -> _Plan:
    """Spans of all resolutions along one axis, found from the finest back to the base.

    Args:
        start, count, size: Crop and picture in latent positions.
    """
    steps = []
    need = (start << len(config.scales) - 1, 0)  # nothing reads the last stage
    for k in range(len(config.scales) - 1, -1, -1):
        wanted = (start << k, (start + count) << k)
        right = (min(wanted[0], need[0]), max(wanted[1], need[1]))
        inner = _grown(right, config.depths[k], size << k)
        before = size << (k - 1) if k else -(-size // config.scales[0])
        need = _source(inner, config.scales[k], before)
        steps.append(_Step(need, inner, wanted))
    return _Plan(_Base(_grown(need, 1, before), before), steps[::-1])


def _grown(span: Span, halo: int, size: int) -> Span:
    return max(span[0] - halo, 0), min(span[1] + halo, size)


def _source(span: Span, scale: int, size: int) -> Span:
    """Positions that the linear upsampling of `size` positions reads for those in `span`."""
    first = (2 * span[0] + 1 - scale) // (2 * scale)
    last = (2 * span[1] - 1 - scale) // (2 * scale) + 1
    return max(first, 0), min(last, size - 1) + 1


def _cut(x: Tensor, at: Sequence[Span], wanted: Sequence[Span]) -> Tensor:
    """The part of x [..., h, w] at the spans `wanted`, where x lies at the spans `at`."""
    (top, left), (row, column) = (at[0][0], at[1][0]), wanted
    return x[..., row[0] - top : row[1] - top, column[0] - left : column[1] - left]


def _interpolate(x: Tensor, dim: int, centres: Tensor) -> Tensor:
    """Linear interpolation along an axis at points in 0..1, half-pixel, clamped at the ends."""
    size = x.shape[dim]
    position = (centres.double() * size - 0.5).clamp(0, size - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = (position - low).to(x.dtype).view(-1, *[1] * (x.dim() - dim - 1))
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), share)


def _halved(config: FieldConfig, level: int) -> tuple[int, int, int]:
    """T, H, W of a grid level."""
    time, height, width = (max(1, n >> level) for n in config.grid_size)
    return time, height, width
