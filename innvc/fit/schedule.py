"""What changes along a fit: learning rate, rounding and open channel groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

from innvc.config import FitConfig


@dataclass(frozen=True)
class Schedule:
    """What changes along the fit, at one moment of it."""

    rate: float  # factor of the learning rate
    temperature: float
    noise_shape: float
    hard: bool  # hard rounding with straight-through gradients
    open_groups: float  # groups that are certainly active, and the next one's probability

    @staticmethod
    def at(progress: float, config: FitConfig, groups: int) -> Schedule:
        """The schedule at a progress of 0..1."""
        warm = min(1.0, progress / config.warm_up) if config.warm_up else 1.0
        noise = min(1.0, progress / max(1e-9, 1 - config.straight_through))
        begin, end = config.mask
        ramp = (progress - begin) / (end - begin) if end > begin else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * progress))
        # Group g is active with probability clip(M ramp - g, 0, 1).
        return Schedule(
            rate=max(0.02, warm) * (config.last_rate + (1 - config.last_rate) * falling),
            temperature=_between(config.temperature, noise),
            noise_shape=_between(config.noise_shape, noise),
            hard=progress >= 1 - config.straight_through,
            open_groups=groups * min(1.0, max(0.0, ramp)),
        )


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
