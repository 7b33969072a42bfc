"""The post-filter: decoded frames nearer to what was coded, by a trained convolutional network.

Quantisation leaves errors that neighbouring samples tell something about. The network reads the six
packed channels of a 4:2:0 frame in units of the quantisation step and gives a few corrections. The
encoder finds what sum of them leaves the least squared error in a region of 128x128 luma samples of
a plane, and writes its gains where they are worth their bits. What gains nothing has gains of zero,
so the filter does no harm, at any rate. It is the last step of decoding: no symbol and no other
frame depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innvc.model.planes import Plane

GAIN_UNIT = 32  # gains are whole 32nds
GAIN_LIMIT = 127
UNFOLDED = 1 << 22  # bytes that a convolution in float64 unfolds at a time, about
REGION = 64  # packed samples, in each direction
POSITIONS = 1 << 16  # that go through the network at a time, about: they stay in the cache
HALO = 8  # rows on each side of them that go with them: the tile's, more than corrections reach
LUMA, CHROMA = slice(0, 4), (slice(4, 5), slice(5, 6))


class PostFilter(nn.Module):
    """Corrections of packed frames.

    Args:
        arrays: Its parameters by name, from a starting point: `enter` [U, 6, 3, 3], `tile`
            [U, 8, 8], `middle` [L, U, U, 3, 3], `middle_bias` [L, U], `leave` [6 K, U, 3, 3].

    Attributes:
        inside: Where a fit needs no more precision, the type of what is inside; else None.
    """

    enter: Tensor
    tile: Tensor
    middle: Tensor
    middle_bias: Tensor
    leave: Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.inside: torch.dtype | None = None
        for name, array in arrays.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(np.array(array))))

    @property
    def corrections(self) -> int:
        """How many corrections K there are of a plane."""
        return len(self.leave) // 6

    def forward(self, x: Tensor) -> Tensor:
        """Corrections [N, K, 6, h, w] of frames [N, 6, h, w] packed by 2, both in steps.

        Channels are the luma phases (0,0), (0,1), (1,0), (1,1) and the two chroma planes.
        """
        found, (height, width) = [], x.shape[2:]
        rows = max(1, POSITIONS // width // HALO) * HALO
        for top in range(0, height, rows):
            above = min(top, HALO)
            strip = self._corrections(x[:, :, top - above : top + rows + HALO])
            found.append(strip[..., above : above + rows, :])
        return torch.cat(found, -2)

    def _corrections(self, x: Tensor) -> Tensor:
        """As `forward`, of frames as they are."""
        # Brightness tells nothing: the first filters see differences alone.
        luma, chroma = self.enter[:, LUMA], self.enter[:, 4:]
        luma = luma - luma.mean((1, 2, 3), keepdim=True)
        chroma = chroma - chroma.mean((2, 3), keepdim=True)
        h = F.pad(x, (1, 1, 1, 1), mode="replicate")
        if self.inside is not None:  # gradients take half the time
            h = h.contiguous(memory_format=torch.channels_last)
        h = F.conv2d(h, torch.cat([luma, chroma], 1)).to(self.inside or x.dtype)
        h = h / h.abs().add_(1)
        rows, columns = h.shape[-2:]
        tile = self.tile.repeat(1, -(-rows // 8), -(-columns // 8))  # blocks have edges
        h = h + tile[:, :rows, :columns].to(h.dtype)
        for kernel, bias in zip(self.middle, self.middle_bias, strict=True):
            h = h + _convolve(h, kernel.to(h.dtype), bias.to(h.dtype)).relu_()
        found: Tensor = _convolve(h, self.leave.to(h.dtype)).to(x.dtype).unflatten(1, (-1, 6))
        return found


def in_regions(gains: np.ndarray, frame: Tensor) -> Tensor:
    """Weights [planes, K, 1, h, w] of corrections of a frame [C, h, w], by their gains.

    Args:
        gains: [planes, rows and columns of regions, K] in 32nds.
    """
    height, width = frame.shape[1:]
    weights = torch.from_numpy(gains / GAIN_UNIT).to(frame).movedim(-1, 1)
    weights = weights.repeat_interleave(REGION, 2).repeat_interleave(REGION, 3)
    # The padding beyond the last region is not seen.
    return F.pad(weights, (0, width, 0, height))[:, :, None, :height, :width]


class FrameFilter:
    """The post-filter for packed frames of one plane layout.

    4:2:0 is what the network knows. Other chroma enters as the mean of its phases, and what it
    lacks is the same for all phases. RGB planes enter one by one as luma without chroma.

    Args:
        network: With parameters of the frames' dtype and device.
        family: "yuv", "rgb" or "gray".
        planes: Of the packed channels.
        step: Quantisation step of plane 0, in 8-bit code values.
    """

    def __init__(
        self, network: PostFilter, family: str, planes: Sequence[Plane], step: float
    ) -> None:
        self.network = network
        self.planes = [plane.channels for plane in planes]
        self._rgb = family == "rgb"
        self._step = step

    def corrections(self, frames: Tensor) -> list[Tensor]:
        """Corrections of each plane of packed frames [N, C, h, w].

        Returns:
            [N, K, 1 or its channels, h, w] for each plane.
        """
        x = frames / self._step
        parts = [x[:, channels] for channels in self.planes]
        if self._rgb:
            views = torch.cat([_view([part]) for part in parts])
            found = self.network(views)[:, :, LUMA] * self._step
            return list(found.unflatten(0, (len(parts), -1)))
        found = self.network(_view(parts)) * self._step
        return [found[:, :, channels] for channels in (LUMA, *CHROMA)[: len(parts)]]

    def apply(self, frame: Tensor, gains: np.ndarray) -> Tensor:
        """The corrected frame [C, h, w], for gains [planes, *regions, K] in 32nds."""
        result = frame.clone()
        for channels, weight, found in zip(
            self.planes, in_regions(gains, frame), self.corrections(frame[None]), strict=True
        ):
            result[channels] += (weight * found[0]).sum(0)
        return result


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """3x3 convolution of [N, C, h, w], with zeros around it.

    In float64 torch unfolds its input, to nine times as much. A few rows at a time of that stay in
    the cache: twice as fast, and the same sums.
    """
    if x.dtype != torch.float64 or x.is_cuda:
        return F.conv2d(x, kernel, bias, padding=1)
    rows = max(1, UNFOLDED // (9 * x[:, :, 0].nbytes))
    result = x.new_empty(len(x), len(kernel), *x.shape[2:])
    x = F.pad(x, (1, 1, 1, 1))
    for r in range(0, x.shape[2] - 2, rows):
        result[:, :, r : r + rows] = F.conv2d(x[:, :, r : r + rows + 2], kernel, bias)
    return result


def _view(planes: Sequence[Tensor]) -> Tensor:
    """What the network reads of planes [N, phases, h, w]: [N, 6, h, w]."""
    chroma = [part.mean(1, keepdim=True) for part in planes[1:]]
    x = torch.cat([planes[0], *chroma], 1)
    return F.pad(x, (0, 0, 0, 0, 0, 6 - x.shape[1]))
