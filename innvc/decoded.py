"""What is kept of a decoded packet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from innvc.model.contexts import Context


@dataclass(frozen=True)
class Picture:
    """A decoded packet.

    Attributes:
        frames: Packed [G, C, H, W].
        low: Its low-pass frame [1, C, H, W], as bright as a frame.
    """

    frames: Tensor
    low: Tensor

    @property
    def references(self) -> Tensor:
        """What the next packet's low-pass frame may be predicted from, a copy [2, C, H, W]."""
        return torch.cat([self.low, self.frames[-1:]])


@dataclass(frozen=True)
class Before:
    """What a packet leaves for the next one.

    Attributes:
        context: Of its low-pass frame.
        references: Of its picture; None where only symbols were decoded.
    """

    context: Context
    references: Tensor | None = None
