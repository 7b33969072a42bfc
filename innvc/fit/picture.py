"""What the fit of a field that is the picture needs: its batches and its objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from innvc.fit.objective import FitObjective
from innvc.fit.schedule import Schedule
from innvc.model.field import Window
from innvc.model.picture import PictureModel, frame_window


@dataclass(frozen=True)
class PictureBatch:
    """Frames of a segment, cropped.

    Attributes:
        samples: [N, C, H, W] packed samples.
        counted: True for each frame, [N].
        window: Where they lie.
    """

    samples: Tensor
    counted: Tensor
    window: Window

    @property
    def positions(self) -> int:
        """Of the latent, in each frame."""
        return self.window.rows * self.window.columns


class PictureData:
    """Random frames of a segment, at random crops.

    Args:
        frames: Packed and padded frames [T, C, H, W], in 8-bit code values.
        stride: Packed samples that a position of the field's first stage covers.
    """

    def __init__(self, frames: Tensor, stride: int) -> None:
        self.frames = frames
        self.stride = stride
        self.size = (frames.shape[-2] // stride, frames.shape[-1] // stride)

    def batch(self, batch_frames: int, crop: int, generator: torch.Generator) -> PictureBatch:
        """Different frames at one crop of a side of `crop` positions, or less in small pictures."""
        total = len(self.frames)
        indexes = torch.randperm(total, generator=generator)[:batch_frames].tolist()
        rows, columns = (min(crop, n) for n in self.size)
        top, left = (
            int(torch.randint(n - m + 1, (), generator=generator))
            for n, m in zip(self.size, (rows, columns), strict=True)
        )
        y, x, height, width = (n * self.stride for n in (top, left, rows, columns))
        device = self.frames.device
        return PictureBatch(
            self.frames[indexes, :, y : y + height, x : x + width],
            torch.ones(len(indexes), dtype=torch.bool, device=device),
            frame_window(indexes, total, self.size, device, (top, left, rows, columns)),
        )


class PictureObjective(FitObjective[PictureBatch]):
    """Distortion alone."""

    def __init__(self, model: PictureModel, plane_weights: Tensor) -> None:
        super().__init__(plane_weights)
        self.model = model

    def counted(self, batch: PictureBatch) -> Tensor:
        return batch.counted

    def forward(
        self, batch: PictureBatch, schedule: Schedule, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """No latent bits, and the mean weighted squared error."""
        error = (self.model(batch.window) - batch.samples).square().mean((0, 2, 3))
        return torch.zeros((), device=error.device), (error * self.plane_weights).sum()
