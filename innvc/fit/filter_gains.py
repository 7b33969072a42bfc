"""The encoder's choice of the post-filter's gains, by rate and distortion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innvc.model.post_filter import GAIN_LIMIT, GAIN_UNIT, REGION, FrameFilter

RIDGE = 1e-4  # of the corrections' mean energy


def choose(
    frame_filter: FrameFilter,
    frames: Tensor,
    originals: Tensor,
    size: tuple[int, int],
    weights: list[float],
) -> np.ndarray:
    """Gains [N, planes, *regions, K] for decoded frames [N, C, h, w].

    Args:
        size: Packed rows and columns that count; the others are padding.
        weights: Bits that a squared error in each plane is worth.
    """
    sums = [_sums(frame_filter, *pair, size) for pair in zip(frames, originals, strict=True)]
    gram, wanted = (np.stack(parts, 1) for parts in zip(*sums, strict=True))
    chosen = [_plane(*part) for part in zip(gram, wanted, weights, strict=True)]
    return np.stack(chosen, 1)


def _sums(
    frame_filter: FrameFilter, frame: Tensor, original: Tensor, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each plane and region the products of the corrections, and theirs with the error.

    [planes, *regions, K, K] and [planes, *regions, K].
    """
    rows, columns = size
    grams, wanteds = [], []
    for channels, found in zip(frame_filter.planes, frame_filter.corrections(frame), strict=True):
        error = (original - frame)[channels, :rows, :columns]
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
    """Gains [N, *regions, K] of a plane, region by region, each after those that predict it."""
    usual = _best(gram.sum((0, 1, 2)), wanted.sum((0, 1, 2)))
    gains = np.zeros(wanted.shape, np.int64)
    for place in np.ndindex(wanted.shape[:3]):
        frame, i, j = place
        if frame:
            predicted = gains[frame - 1, i, j]
        elif i or j:
            predicted = gains[0, i, j - 1] if j else gains[0, i - 1, j]
        else:
            predicted = np.zeros_like(usual)
        own = _best(gram[place], wanted[place])
        candidates = [predicted, usual, own, (own + predicted) // 2]
        costs = []
        for candidate in candidates:
            g = candidate / GAIN_UNIT
            saved = 2 * g @ wanted[place] - g @ gram[place] @ g
            costs.append(_bits(candidate - predicted) - weight * saved)
        gains[place] = candidates[int(np.argmin(costs))]
    return gains


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
