"""The field as the whole model: NVRC's mode, with a pixel head and without latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from innvc.config import ModelConfig
from innvc.errors import UnsupportedError
from innvc.model import start
from innvc.model.field import ConditioningField, Window
from innvc.model.initial import initialise
from innvc.model.layers import unsqueeze
from innvc.model.model import InnvcModel, SampleLayout


class PictureModel(nn.Module):
    """Packed samples of frames from the field alone (`field_role` "picture").

    Args:
        config: Architecture, from the header.
        layout: Plane layout, from the header's pixel format.

    Raises:
        UnsupportedError: the configuration has no field.
    """

    def __init__(self, config: ModelConfig, layout: SampleLayout) -> None:
        super().__init__()
        if config.field is None:
            raise UnsupportedError("The file's model has neither field nor latent.")
        self.config = config
        self.layout = layout
        geometry = start.packed_geometry(
            layout.family, layout.shift_x, layout.shift_y, config.packing
        )
        # A field of fewer stages ends at a coarser resolution, with more samples at each position.
        self.squeezes = config.stages - len(config.field.channels)
        self.field = ConditioningField(config.field, geometry.channels << 2 * self.squeezes)
        self.packed_planes = geometry.planes  # of each packed channel, 3 for zeros
        initialise(self)

    @property
    def stride(self) -> int:
        """Packed samples that a position of the field's first stage covers in each direction."""
        return 1 << (self.config.stages - 1)

    def forward(self, window: Window) -> Tensor:
        """Packed samples [N, C, H, W] of frames, in 8-bit code values."""
        x = self.field.samples(window)
        for _ in range(self.squeezes):
            x = unsqueeze(x)
        return x

    def coding_masks(self) -> dict[str, Tensor]:
        """Masks of parameters of which only some elements are coded: none here."""
        return {}


SegmentModel = InnvcModel | PictureModel


def frame_window(
    indexes: Sequence[int],
    frames: int,
    size: tuple[int, int],
    device: torch.device,
    part: tuple[int, int, int, int] | None = None,
) -> Window:
    """The window of frames of a segment; `part` is top, left, rows, columns of a crop."""
    time = [(index + 0.5) / frames for index in indexes]
    return Window(
        torch.tensor(time, dtype=torch.float64, device=device),
        torch.zeros(len(time), dtype=torch.long, device=device),
        *size,
        *(part or (0, 0, *size)),
    )
