"""The invertible backbone: K stages of orthogonal 1x1, modulation, coupling and squeeze."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from innvc.model.layers import (
    Coupling,
    Modulation,
    Orthogonal,
    affine,
    affine_inverse,
    squeeze,
    unsqueeze,
)


class Backbone(nn.Module):
    """Packed planes to latent and back (paper section 3.4, equations 5 to 7).

    The last stage stops after modulation. Runs in float32 without TF32, or in float64.

    Args:
        bases: Orthonormal base of each stage; their sizes grow by 4.
        coupling: Subnet width of each stage but the last, 0 for none; empty is no coupling.
        features: Channels of the field's feature map for each stage, or empty.
        half_order: The last stage's input channel of each latent channel in half-size blocks.
    """

    half_order: Tensor

    def __init__(
        self,
        bases: Sequence[np.ndarray],
        coupling: Sequence[int],
        features: Sequence[int],
        half_order: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("half_order", half_order, persistent=False)
        self.mixing = nn.ModuleList(Orthogonal(base) for base in bases)
        self.modulation = nn.ModuleList(
            Modulation(f, len(base)) for f, base in zip(features, bases, strict=False)
        )
        widths = [*coupling, 0] if coupling else [0] * len(bases)
        self.coupling = nn.ModuleList(
            Coupling(len(base), width) if width else nn.Identity()
            for base, width in zip(bases, widths, strict=True)
        )

    def matrices(self) -> list[Tensor]:
        """The orthogonal matrices of the stages; compute once for many frames."""
        return [layer.matrix() for layer in self.mixing if isinstance(layer, Orthogonal)]

    def forward(
        self,
        x: Tensor,
        matrices: list[Tensor],
        features: Sequence[Tensor] | None = None,
        half: Tensor | None = None,
    ) -> Tensor:
        """Packed planes [N, C, H, W] to latent [N, C 4^(K-1), H / 2^(K-1), W / 2^(K-1)].

        Args:
            features: The field's map at each stage's resolution; None leaves modulation out.
            half: [N] true for frames in half-size blocks, whose last stage only sorts channels.
        """
        last = len(self.mixing) - 1
        for k, mix in enumerate(self.mixing):
            mixed = mix(x, matrices[k])
            if k == last and half is not None:
                mixed = torch.where(half[:, None, None, None], x[:, self.half_order], mixed)
            x = mixed
            if features is not None:
                x = affine(x, self.modulation[k](features[k]))
            if isinstance(self.coupling[k], Coupling):
                x = self.coupling[k](x)
            if k < last:
                x = squeeze(x)
        return x

    def inverse(
        self,
        y: Tensor,
        matrices: list[Tensor],
        features: Sequence[Tensor] | None = None,
        half: Tensor | None = None,
    ) -> Tensor:
        """Latent to packed planes."""
        last = len(self.mixing) - 1
        for k in range(last, -1, -1):
            if k < last:
                y = unsqueeze(y)
            coupling, mix = self.coupling[k], self.mixing[k]
            if isinstance(coupling, Coupling):
                y = coupling.inverse(y)
            if features is not None:
                y = affine_inverse(y, self.modulation[k](features[k]))
            assert isinstance(mix, Orthogonal)
            mixed = mix.inverse(y, matrices[k])
            if k == last and half is not None:
                sorted_back = y[:, self.half_order.argsort()]
                mixed = torch.where(half[:, None, None, None], sorted_back, mixed)
            y = mixed
        return y
