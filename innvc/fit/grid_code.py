"""How a feature grid is coded at the least bits: base scales and context models, by real cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from innvc.bitstream.grids import REST_BITS, CodedGrid
from innvc.bitstream.tables import LEVELS
from innvc.bitstream.vectors import vector_bits
from innvc.fit.parameter_code import REACH, bin_costs, bins_of, offsets_for
from innvc.fit.parameter_rate import grid_bits
from innvc.model.grid_prior import TURNS, GridPrior, activity, gather, turn_slices
from innvc.model.prior import WEIGHT_BITS

COARSEST_SHIFT = 6  # of the weights' steps that are tried
LEAST_NONZERO = 1000  # values of a level for which its context model is fitted
CROP = (32, 24, 24)  # T, H, W that a step of that fit sees


def choose_grids(
    grids: Sequence[CodedGrid], priors: Sequence[GridPrior] | None = None
) -> list[CodedGrid]:
    """The levels with the scales and context models that take the least bits.

    Args:
        grids: Values and steps, from fine to coarse.
        priors: Fitted context models; without them, and where they do not pay, the start's.
    """
    chosen: list[CodedGrid] = []
    coarser = None
    for level in range(len(grids) - 1, -1, -1):
        grid = grids[level]
        if grid.values.any():
            candidates = [grid]
            if priors is not None:
                weights = changes_of(priors[level])
                for shift in range(0, COARSEST_SHIFT + 1, 2):
                    rounded = (weights + (1 << shift >> 1)) >> shift << shift
                    candidates.append(replace(grid, weights=rounded))
            options = [with_scales(candidate, coarser) for candidate in candidates]
            grid = min(options, key=lambda option: option[1])[0]
        chosen.append(grid)
        coarser = grid.values * grid.step_of()
    return chosen[::-1]


def changes_of(prior: GridPrior) -> np.ndarray:
    """A context model's changes from its start in 2^-10, flat."""
    with torch.no_grad():
        parts = [
            torch.floor((p.cpu() - q) * (1 << WEIGHT_BITS) + 0.5).flatten()
            for p, q in zip(prior.parameters(), GridPrior().parameters(), strict=True)
        ]
    return torch.cat(parts).numpy().astype(np.int64)


@torch.no_grad()
def with_scales(grid: CodedGrid, coarser: np.ndarray | None) -> tuple[CodedGrid, float]:
    """The base scale, its offsets by channel, and the bits of all but the steps."""
    prior = grid.prior()
    channels, *shape = grid.values.shape
    steps = torch.from_numpy(grid.step_of()).double()
    values = torch.from_numpy(grid.values * grid.step_of()).double()
    activities = activity(None if coarser is None else torch.from_numpy(coarser).double(), shape)
    direct, sign, magnitude = bin_costs()
    reach = 2 * LEVELS  # of what contexts add, in the histogram
    counts = np.zeros((channels, 2 * reach + 1, direct.shape[1]))
    for turn in range(len(TURNS)):
        where = turn_slices(turn, shape[0])
        if not len(where):
            continue
        scale, mean = prior.contexts(turn, gather(turn, values, activities, steps))
        symbols = grid.values[:, where.start :: where.step] - mean.numpy().astype(np.int64)
        place = (scale.numpy().astype(np.int64) + reach).clip(0, 2 * reach)
        index = (np.arange(channels)[:, None, None, None] * (2 * reach + 1) + place) * len(
            direct[0]
        ) + bins_of(torch.from_numpy(symbols)).numpy()
        counts += np.bincount(index.ravel(), minlength=counts.size).reshape(counts.shape)
    tables = np.arange(-reach, reach + 1) + np.arange(LEVELS)[:, None]  # [base, context]
    tables = tables.clip(0, LEVELS - 1)

    def by_base(costs: np.ndarray) -> np.ndarray:
        """Bits of each channel at each base scale, [C, 64]."""
        return np.stack([np.einsum("cib,ib->c", counts, costs[row]) for row in tables], 1)

    options: list[tuple[np.ndarray, int, int | None]] = []
    together = by_base(direct)
    options.append((together, int(together.sum(0).argmin()), None))
    signs, rest = by_base(sign), by_base(magnitude)
    base, other = int(signs.sum(0).argmin()), int(rest.sum(0).argmin())
    apart = signs + by_base(magnitude[(np.arange(LEVELS) + other - base).clip(0, LEVELS - 1)])
    options.append((apart, base, other - base))
    found = []
    for data, first, further in options:
        around = (first + np.arange(-REACH, REACH + 1)).clip(0, LEVELS - 1)
        offsets, bits = offsets_for(data[:, around])
        coded = replace(grid, scale=first, rest=further, scale_offsets=offsets)
        found.append((coded, bits + (0 if further is None else REST_BITS)))
    coded, bits = min(found, key=lambda option: option[1])
    return coded, bits + (vector_bits(grid.weights) if grid.weights.size else 1)


@torch.enable_grad()
def fit_priors(
    grids: Sequence[CodedGrid], priors: Sequence[GridPrior], steps: int = 100, seed: int = 0
) -> None:
    """Fits the context models of the levels to their values, in place.

    Levels with few values that are not zero are left alone: the weights would cost more.
    """
    random = np.random.default_rng(seed)
    for level, (grid, prior) in enumerate(zip(grids, priors, strict=True)):
        if np.count_nonzero(grid.values) < LEAST_NONZERO:
            continue
        coarser = None
        if level + 1 < len(grids):
            coarser = torch.from_numpy(grids[level + 1].values * grids[level + 1].step_of()).float()
        shape = grid.values.shape[1:]
        coarse = activity(coarser, shape).float()
        size = torch.from_numpy(grid.step_of()).float()
        values = torch.from_numpy(grid.values).float()
        chosen = with_scales(grid, None if coarser is None else coarser.numpy().astype(np.int64))[0]
        base = torch.full((len(values),), float(chosen.scale))
        base.requires_grad_()
        groups = [{"params": prior.parameters(), "lr": 0.01}, {"params": [base], "lr": 0.2}]
        optimiser = torch.optim.Adam(groups)
        for step in range(steps):
            for group, rate in zip(optimiser.param_groups, (0.01, 0.2), strict=True):
                group["lr"] = rate * (1 - step / steps)
            window = [_window(random, n, crop) for n, crop in zip(shape, CROP, strict=True)]
            part, scale = values[:, *window], size[:, *window]
            bits, _ = grid_bits(prior, base, chosen.rest, part, scale, coarse[*window])
            optimiser.zero_grad()
            (bits / part.numel()).backward()
            optimiser.step()


def _window(random: np.random.Generator, size: int, crop: int) -> slice:
    """A random part of an axis, from a multiple of 8 on so that passes stay what they are."""
    first = 8 * int(random.integers(0, max(0, size - crop) // 8 + 1))
    return slice(first, first + crop)
