"""Presets: the model and the fit, made for one clip."""

from __future__ import annotations

from innvc.model import start
from innvc.model.model import SampleLayout


def analytic_groups(layout: SampleLayout, packing: int, stages: int) -> tuple[int, ...]:
    """Channel groups of the analytic start."""
    geometry = start.packed_geometry(layout.family, layout.shift_x, layout.shift_y, packing)
    return start.dct_groups(start.dct_bases(geometry, stages)[1])
