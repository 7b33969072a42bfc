"""The encoder's choice of the filters' gains, by rate and distortion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from innvc.model.post_filter import GAIN_LIMIT, GAIN_UNIT, REGION, FrameFilter
from innvc.model.temporal_filter import TemporalFilter

RIDGE = 1e-4  # of the corrections' mean energy


def choose(
    frame_filter: FrameFilter,
    frames: Tensor,
    originals: Tensor,
    size: tuple[int, int],
    weights: list[float],
) -> np.ndarray:
    """Gains of the post-filter [N, planes, *regions, K] for decoded frames [N, C, h, w].

    Args:
        size: Packed rows and columns that count; the others are padding.
        weights: Bits that a squared error in each plane is worth.
    """
    sums = []
    for frame, original in zip(frames, originals, strict=True):
        found = (part[0] for part in frame_filter.corrections(frame[None]))
        corrections = zip(frame_filter.planes, found, strict=True)
        sums.append(_sums(corrections, original - frame, size))
    gram, wanted = (np.stack(parts, 1) for parts in zip(*sums, strict=True))
    chosen = [_plane(*part) for part in zip(gram, wanted, weights, strict=True)]
    return np.stack(chosen, 1)


def choose_in_time(
    temporal: TemporalFilter,
    frames: Tensor,
    originals: Tensor,
    size: tuple[int, int],
    weights: list[float],
) -> tuple[np.ndarray, Tensor]:
    """Gains of the temporal filter [N, planes, *regions, 1], and the filtered frames.

    Arguments are those of `choose`.
    """
    found: list[np.ndarray] = []

    def gains_of(number: int, frame: Tensor, correction: Tensor) -> np.ndarray:
        parts = [(p.channels, correction[None, p.channels]) for p in temporal.planes]
        gram, wanted = _sums(parts, originals[number] - frame, size)
        before = found[-1] if found else [None] * len(weights)
        chosen = [
            _frame(*part, _usual(*part[:2]))
            for part in zip(gram, wanted, weights, before, strict=True)
        ]
        found.append(np.stack(chosen))
        return found[-1]

    filtered = torch.stack(list(temporal.apply(frames, gains_of)))
    return np.stack(found), filtered


def _sums(
    corrections: Iterable[tuple[slice, Tensor]], errors: Tensor, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each plane and region the products of the corrections, and theirs with the error.

    Args:
        corrections: Of each plane its channels, and its corrections [K, 1 or channels, h, w].
        errors: Of a frame [C, h, w].

    Returns:
        [planes, *regions, K, K] and [planes, *regions, K].
    """
    rows, columns = size
    grams, wanteds = [], []
    for channels, found in corrections:
        error = errors[channels, :rows, :columns]
        basis = found.expand(-1, len(error), -1, -1)[..., :rows, :columns]
        both = torch.cat([basis, error[None]]).double()
        products = [
            [part.flatten(1) @ part.flatten(1).T for part in row.split(REGION, 3)]
            for row in both.split(REGION, 2)
        ]
        total = torch.stack([torch.stack(row) for row in products]).cpu().numpy()
        grams.append(total[..., :-1, :-1])
        wanteds.append(total[..., :-1, -1])
    return np.stack(grams), np.stack(wanteds)


def _plane(gram: np.ndarray, wanted: np.ndarray, weight: float) -> np.ndarray:
    """Gains [N, *regions, K] of a plane."""
    usual = _usual(gram, wanted)
    gains: list[np.ndarray] = []
    for own_gram, own_wanted in zip(gram, wanted, strict=True):
        before = gains[-1] if gains else None
        gains.append(_frame(own_gram, own_wanted, weight, before, usual))
    return np.stack(gains)


def _frame(
    gram: np.ndarray,
    wanted: np.ndarray,
    weight: float,
    before: np.ndarray | None,
    usual: np.ndarray,
) -> np.ndarray:
    """Gains [*regions, K] of a plane of a frame, region by region, each after what predicts it.

    Args:
        before: Those of the frame before; None in the first frame.
        usual: Gains that many a region may have.
    """
    gains = np.zeros(wanted.shape, np.int64)
    for i, j in np.ndindex(wanted.shape[:2]):
        if before is not None:
            predicted = before[i, j]
        elif i or j:
            predicted = gains[i, j - 1] if j else gains[i - 1, j]
        else:
            predicted = np.zeros_like(usual)
        own = _best(gram[i, j], wanted[i, j])
        candidates = [predicted, usual, own, (own + predicted) // 2]
        costs = []
        for candidate in candidates:
            g = candidate / GAIN_UNIT
            saved = 2 * g @ wanted[i, j] - g @ gram[i, j] @ g
            costs.append(_bits(candidate - predicted) - weight * saved)
        gains[i, j] = candidates[int(np.argmin(costs))]
    return gains


def _usual(gram: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The gains that are best for all regions together."""
    count = wanted.shape[-1]
    return _best(gram.reshape(-1, count, count).sum(0), wanted.reshape(-1, count).sum(0))


def _best(gram: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Gains that leave the least squared error, in 32nds."""
    ridge = RIDGE * np.trace(gram) / len(gram) + 1e-9
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), wanted)
    return np.clip(np.round(solved * GAIN_UNIT), -GAIN_LIMIT, GAIN_LIMIT).astype(np.int64)


def _bits(difference: np.ndarray) -> float:
    """About what the difference to the predicted gains costs."""
    if not difference.any():
        return 0.5
    return 2.0 + float(np.sum(1 + 1.5 * np.log2(1 + np.abs(difference))))
