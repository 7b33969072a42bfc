"""Decoded frames as RGB tensors, and files as a dataset of torch."""

from __future__ import annotations

import operator
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from innvc.errors import UsageError
from innvc.video.convert import Converter
from innvc.video.formats import Frame, VideoInfo, pixel_format
from innvc.video.layouts import frame_to_planes, planes_to_frame

if TYPE_CHECKING:
    from innvc.reader import VideoReader


class RgbConverter:
    """Converts frames to RGB, by swscale with the matrix and range of their tags.

    Args:
        info: Of the frames.

    Raises:
        UnsupportedError: swscale does not have their matrix.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        name = f"gbrp{info.format.depth}le" if info.format.depth > 8 else "gbrp"
        self._target = pixel_format(name)
        self._converter = Converter(info.format.name, info, self._target)

    def __call__(self, frame: Frame) -> Tensor:
        """A frame as [3, height, width], gray as [1, ...]: uint8, or uint16 of its depth."""
        planes = frame.planes
        if self._info.format.family == "yuv":
            picture = planes_to_frame(planes, self._info.format)
            planes = frame_to_planes(self._converter.convert(picture))
        if len(planes) == 3:
            green, blue, red = planes
            planes = [red, green, blue]
        return torch.from_numpy(np.stack(planes))


class RgbFrames:
    """The frames of a video as RGB tensors: an index gives one, a slice gives them as one tensor.

    Iteration decodes ahead.

    Args:
        video: Whose frames they are.
        device: Of torch, to which they are moved.
    """

    def __init__(self, video: VideoReader, device: str = "cpu") -> None:
        self._video = video
        self._convert = RgbConverter(video.info)
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self._video)

    def __iter__(self) -> Iterator[Tensor]:
        for frame in self._video:
            yield self._convert(frame).to(self._device)

    def __getitem__(self, index: int | slice) -> Tensor:
        """[3, height, width] of an index, [frames, 3, height, width] of a slice.

        Samples are uint8, or uint16 of the video's depth. Gray has one channel.
        """
        if not isinstance(index, slice):
            return self._convert(self._video[index]).to(self._device)
        wanted = range(*index.indices(len(self)))
        if wanted and wanted.step == 1:
            frames = self._video.read(wanted.start, wanted.stop)
        else:
            frames = (self._video[i] for i in wanted)
        found = [self._convert(frame) for frame in frames]
        if not found:
            raise IndexError("the slice holds no frame")
        return torch.stack(found).to(self._device)


class VideoDataset(Dataset[Tensor]):
    """Runs of frames of .innv files, for a DataLoader.

    Each item is [frames, 3, height, width] as of `RgbFrames`. A process opens a file when it first
    reads from it, and keeps it open.

    Args:
        paths: The files.
        frames: Of an item.
        step: Frames from the start of one item to the next; None is `frames`.
        device: That decodes, as of `innvc.open`.

    Raises:
        UsageError: a number is below 1, or no file has so many frames.
        InnvcError: a file cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        frames: int = 1,
        *,
        step: int | None = None,
        device: str = "cpu",
    ) -> None:
        from innvc.bitstream.reader import Reader

        self._step = frames if step is None else step
        if frames < 1 or self._step < 1:
            raise UsageError("A dataset has items of no frames.", "Give numbers from 1.")
        self._paths = [os.fspath(path) for path in paths]
        self._frames = frames
        self._device = device
        counts = []
        for path in self._paths:
            with Reader(path) as reader:
                counts.append(max(0, (reader.frames - frames) // self._step + 1))
        self._ends = list(accumulate(counts))
        if not self._ends or not self._ends[-1]:
            raise UsageError(f"No file has {frames} frames.", "Give other files or fewer frames.")
        self._open: dict[str, RgbFrames] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Tensor:
        """Item [frames, 3, height, width]; raises IndexError where there is none."""
        index = operator.index(index)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        first = self._step * (index - (self._ends[number - 1] if number else 0))
        path = self._paths[number]
        if path not in self._open:
            from innvc.reader import VideoReader

            self._open[path] = VideoReader(path, device=self._device).rgb()
        return self._open[path][first : first + self._frames]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}
