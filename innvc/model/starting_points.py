"""Shipped starting points: trained values that parameters are differences from (docs/starts.md).

Id 0 is the analytic start of `start.py` and fits every model. The others are data files made by
`training/train_start.py`, integers in units of 2^-10, for one plane layout each.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from innvc.errors import InnvcError, UnsupportedError
from innvc.model.start import Frequencies, analytic_transform, group_keys

UNIT = 2.0**-10


@dataclass(frozen=True)
class StartingPoint:
    """One data file: the plane layout it was trained on, and its checksum.

    Attributes:
        layout: Family and chroma shifts; 4 stages, packing 2, base dct.
        earlier: Id of the starting point that tensors are taken from that the file lacks.
    """

    file: str
    layout: tuple[str, int, int]
    sha256: str
    earlier: int | None = None


STARTING_POINTS = {
    5: StartingPoint(
        "start5.npz",
        ("yuv", 1, 1),
        "d1cce4b72277813d60e51a2dbbe859539358381553af04a5b0d0dc616f909bf1",
    ),
    6: StartingPoint(
        "start6.npz",
        ("yuv", 1, 1),
        "c3214e255ee6a94ecbe6055127057c6990eb205480c2359061bc58cd45655297",
        earlier=5,
    ),
}
NEWEST = max(STARTING_POINTS)


_MATRICES = tuple(
    f"prior.{name}"
    for name in ("spectral", "surround", "predict_mean", "reach", "half_scale", "half_mean")
)
# Tensors of the intra prior: rows are channels, rows are means, columns are not channels but units.
_ROWS = tuple(
    f"intra.{name}"
    for name in (
        "leave", "linear", "within", "absent",
        "scale_leave", "scale_linear", "scale_hidden", "scale_within",
    )
)  # fmt: skip
_MEANS = ("intra.leave", "intra.linear", "intra.within")
_UNITS = tuple(
    f"intra.{name}"
    for name in ("middle", "leave", "absent", "scale_bias", "scale_leave", "scale_hidden")
)
# Of the latent prior's scale network.
_SCALES = (_ENTER, _BIAS, _LEAVE) = "prior.scale_enter", "prior.scale_bias", "prior.scale_leave"
_SHARED = ("prior.base_level", "intra.middle", "intra.scale_bias")  # not of channels


@cache
def load(number: int) -> tuple[dict[str, np.ndarray], Frequencies, Frequencies]:
    """Parameter values (float32) by name, and the frequencies of whole and of half-size blocks.

    Raises:
        UnsupportedError: this version does not have the starting point.
        InnvcError: the installed file is damaged.
    """
    if number not in STARTING_POINTS:
        raise UnsupportedError(
            f"The file needs starting point {number}, which this version does not have.",
            "Install a newer innvc.",
        )
    point = STARTING_POINTS[number]
    data = files("innvc.model").joinpath(point.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != point.sha256:
        raise InnvcError(f"The installed file {point.file} is damaged.", "Install innvc again.")
    values = load(point.earlier)[0] if point.earlier else {}
    with np.load(io.BytesIO(data)) as arrays:
        values = values | {n: _values(arrays[n]) for n in arrays.files}
    whole, half = (analytic_transform(*point.layout, 2, stages)[1] for stages in (4, 3))
    return values, whole, half


def _values(stored: np.ndarray) -> np.ndarray:
    """Float32 values of a stored tensor: 16-bit floats, or integers in units of 2^-10."""
    unit = np.float32(1 if stored.dtype == np.float16 else UNIT)
    return stored.astype(np.float32) * unit


def values_for(
    number: int, target: Frequencies, half: Frequencies | None, scales: bool
) -> dict[str, np.ndarray]:
    """A starting point's values for the channels of any plane layout.

    Args:
        target: Of the latent's channels.
        half: Of the channels of half-size blocks; None where there is no intra prior.
        scales: Whether there is a scale network.

    A channel takes the values of the channel of its plane and frequency. The same frequency means
    the same wave in the picture in every chroma format, and steps grow as coefficients do. Where
    the trained layout has no such frequency the highest it has stands in, and no other channel
    reads from such a channel.

    Raises:
        UnsupportedError: this version does not have the starting point.
    """
    values, trained, trained_half = load(number)
    prior = {n: v for n, v in values.items() if n.startswith("prior.") and n not in _SCALES}
    taken = _prior_values(prior, trained, target)
    if scales and _ENTER in values:
        taken |= _scale_values(values, trained, target)
    if half is not None:
        source, exact = _sources(trained_half, half)
        for name, value in values.items():
            if not name.startswith("intra."):
                continue
            if name in _SHARED:
                taken[name] = value
                continue
            if name in _ROWS:
                value = value[source]
                if name in _MEANS:  # a frequency that was not trained is predicted as zero
                    value = value * exact.reshape(-1, *(1,) * (value.ndim - 1))
            if name not in _UNITS:
                value = value[..., source]
                if value.ndim > 1:
                    value = value * exact
            taken[name] = value
    return taken


def scale_units(number: int) -> int:
    """Units for each channel group of a starting point's scale network; 0 is none."""
    if not number:
        return 0
    values, trained, _ = load(number)
    units = values[_BIAS].shape[1] if _BIAS in values else 0
    return units // len(np.unique(group_keys(trained)))


def post_filter(number: int) -> dict[str, np.ndarray]:
    """Parameters of a starting point's post-filter, by name.

    Raises:
        UnsupportedError: this version does not have the starting point, or it has no post-filter.
    """
    values = load(number)[0] if number else {}
    start = "filter."
    found = {n.removeprefix(start): v for n, v in values.items() if n.startswith(start)}
    if not found:
        raise UnsupportedError(f"Starting point {number} has no post-filter.")
    return found


def _sources(trained: Frequencies, target: Frequencies) -> tuple[np.ndarray, np.ndarray]:
    """The trained channel that each channel takes its values from; whether it is the same one."""
    place = {key: i for i, key in enumerate(zip(*trained, strict=True))}
    source = np.empty(len(target.plane), np.int64)
    exact = np.empty(len(target.plane), bool)
    for channel, (plane, vertical, horizontal) in enumerate(zip(*target, strict=True)):
        inside = trained.plane == plane
        nearest = (
            plane,
            min(vertical, trained.vertical[inside].max()),
            min(horizontal, trained.horizontal[inside].max()),
        )
        source[channel] = place[nearest]
        exact[channel] = nearest == (plane, vertical, horizontal)
    return source, exact


def _prior_values(
    values: dict[str, np.ndarray], trained: Frequencies, target: Frequencies
) -> dict[str, np.ndarray]:
    source, exact = _sources(trained, target)
    keys, trained_keys = group_keys(target), group_keys(trained)

    def first(count: int) -> slice:
        """The target's channels of the groups that the first `count` trained channels make up."""
        if count == len(trained_keys):
            return slice(0, len(keys))
        return slice(0, int(np.searchsorted(keys, trained_keys[count - 1], "right")))

    taken = {}
    for name, value in values.items():
        if name in _SHARED:
            taken[name] = value
            continue
        columns = first(value.shape[-1])
        value = value[..., source[columns]]
        if name in _MATRICES:
            rows = first(value.shape[-2])
            value = value[..., source[rows], :] * exact[columns]
        taken[name] = value
    return taken


def _scale_values(
    values: dict[str, np.ndarray], trained: Frequencies, target: Frequencies
) -> dict[str, np.ndarray]:
    """Of the scale network: a group's units are those of the same group, or zero."""
    source, exact = _sources(trained, target)
    groups, trained_groups = (np.unique(group_keys(f)) for f in (target, trained))
    same = np.minimum(np.searchsorted(trained_groups, groups), len(trained_groups) - 1)
    known = trained_groups[same] == groups

    def of_units(name: str) -> np.ndarray:
        parts = np.split(values[name], len(trained_groups), 0 if name == _ENTER else -1)
        parts = [parts[g] * k for g, k in zip(same, known, strict=True)]
        return np.concatenate(parts, 0 if name == _ENTER else -1)

    taken = {name: of_units(name) for name in _SCALES}
    taken[_ENTER] = taken[_ENTER][..., source] * exact
    taken[_LEAVE] = taken[_LEAVE][source]
    return taken
