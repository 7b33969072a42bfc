"""Details that make up for the errors of coarser subband frames, while a packet is coded."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from innvc.model.lifting import Lifting, interleaved
from innvc.model.subbands import details, low_counts

ITERATIONS = int(os.environ.get("ITER", "3"))


class ClosedLoop:
    """Targets of details after the errors of what has been coded.

    Lifting with motion is not orthogonal: a part of what the errors of a low-pass frame do to the
    frames lies in the reach of the details, which are coded later. At each level the details are
    shifted to where the frames that it gives have the least squared error.

    Args:
        lifting: Of the packet.
        gains: Of its subband frames.
        group: Frames of the packet.
    """

    def __init__(self, lifting: Lifting, gains: Tensor, group: int) -> None:
        self._lifting = lifting
        self._gains = gains
        self._group = group
        self._level = len(low_counts(group)) - 1
        self._errors: list[Tensor] = []  # of the level's details so far
        self._low: Tensor | None = None

    def coded(self, subband: int, error: Tensor) -> None:
        """Takes the error [1, C, H, W] of a subband frame."""
        gain = self._gains[subband : subband + 1] if len(self._gains) > 1 else self._gains
        error = error / gain
        if subband == 0:
            self._low = error
            return
        self._errors.append(error)
        if subband + 1 == details(self._group, self._level).stop:
            self._low = interleaved(*self._step(torch.cat(self._errors)))
            self._errors = []
            self._level -= 1

    def places(self) -> tuple[int, int]:
        found = details(self._group, self._level)
        return found.start, found.stop

    def _step(self, h: Tensor) -> tuple[Tensor, Tensor]:
        a = self._low - self._lifting.update(h, self._level, len(self._low))
        return a, h + self._lifting.predict(a, self._level, len(h))

    def shifts(self) -> Tensor:
        """Shifts [P, C, H, W] of the next level's details, scaled by their gains."""
        places = details(self._group, self._level)
        zero = torch.zeros_like(self._low[:1]).repeat(len(places), 1, 1, 1)
        low = self._low

        def forward(h: Tensor, low: Tensor) -> Tensor:
            a = low - self._lifting.update(h, self._level, len(low))
            b = h + self._lifting.predict(a, self._level, len(h))
            return torch.cat([a, b])

        def transpose(y: Tensor) -> Tensor:
            with torch.enable_grad():
                z = torch.zeros_like(zero, requires_grad=True)
                return torch.autograd.grad((forward(z, torch.zeros_like(low)) * y).sum(), z)[0]

        nothing = torch.zeros_like(low)
        left = forward(zero, low)
        x, residual = zero, -transpose(left)
        direction, size = residual.clone(), residual.square().sum()
        for _ in range(ITERATIONS):
            reached = forward(direction, nothing)
            length = size / reached.square().sum().clamp(min=1e-30)
            x = x + length * direction
            residual = residual - length * transpose(reached)
            new = residual.square().sum()
            direction, size = residual + new / size * direction, new
        return x * self._gains[places.start : places.stop]
