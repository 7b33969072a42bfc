"""Random access to the frames of an .innv file."""

from __future__ import annotations

import operator
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, overload

from innvc.bitstream.header import HeaderRecord, Limits, from_ratio
from innvc.bitstream.reader import Reader
from innvc.concealment import Concealment
from innvc.errors import UsageError, ranges_text
from innvc.packets import PacketDecoder
from innvc.video.formats import Frame, VideoInfo, pixel_format
from innvc.video.timing import DEFAULT_FRAME_RATE

if TYPE_CHECKING:
    from innvc.bitstream.index import SegmentEntry
    from innvc.bitstream.streams import StreamsRecord
    from innvc.rgb import RgbFrames


class VideoReader(Sequence[Frame]):
    """Frames of an .innv file: len, index, slice and iteration.

    Reads only what the wanted frames need. Keeps one decoded packet and one segment's model.

    Args:
        path: The file.
        device: "auto", "cpu" or "cuda[:n]".
        exact: Synthesis in float64: the same samples on every machine.
        layers: Decode only the first layers of channel groups.
        only: "field" or "latent" decodes this part of the model alone (paper figure 4): the latent
            zero, or the field left out. None is both.
        partial: Read the frames that are there of a file that was cut short; `len` counts those.
        conceal: Put others in place of frames that are lost to damage: the field's picture, or the
            nearest frame; `concealed` names them.
        torch_planes: Frames hold torch tensors (CPU, uint8 or uint16), not numpy arrays.
        limits: What the file may declare; None is the defaults.

    Raises:
        InnvcError: the file cannot be read; see `bitstream.reader.Reader`. Frames that damage has
            lost raise a DamageError, without `conceal`; all others are read as if it were whole.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        exact: bool = False,
        layers: int | None = None,
        only: str | None = None,
        partial: bool = False,
        conceal: bool = False,
        torch_planes: bool = False,
        limits: Limits | None = None,
    ) -> None:
        if layers is not None and layers < 1:
            raise UsageError(f"Cannot decode {layers} layers.", "Give a number from 1.")
        if only not in (None, "field", "latent"):
            raise UsageError(f"Cannot decode only '{only}'.", "Choose field or latent.")
        if only == "field" and layers is not None:
            raise UsageError("The field alone has no layers.", "Leave out --layers or --only.")
        self._reader = Reader(path, limits, partial=partial)
        header = self._reader.header
        if only == "field" and header.model.field is None:
            self._reader.close()
            raise UsageError(
                "The file has no field.", "Presets slow and paper, and --residual, have one."
            )
        if header.model.field_role == "picture" and (layers is not None or only == "latent"):
            self._reader.close()
            raise UsageError(
                "The file has no latent and no layers: its field is the picture.",
                "Leave out --layers and --only.",
            )
        if layers is not None and layers > len(header.model.layers):
            self._reader.close()
            count = len(header.model.layers)
            raise UsageError(
                f"The file has {count} layers, not {layers}.", f"Give a number from 1 to {count}."
            )
        self._torch_planes = torch_planes
        self._packets = PacketDecoder(self._reader, device, exact, layers, only)
        self._concealment: Concealment | None = None
        if conceal:
            with_field = header.model.field is not None and header.model.field_role != "picture"
            self._concealment = Concealment(
                self._packets.frame,
                self._packets.field_alone if with_field and only != "latent" else None,
                self._pts,
                len(self),
                self.info,
            )

    @property
    def header(self) -> HeaderRecord:
        """The header record."""
        return self._reader.header

    @property
    def segments(self) -> list[SegmentEntry]:
        """Where the segments are."""
        return self._reader.segments

    @property
    def notes(self) -> list[str]:
        """Remarks for the user."""
        lost = ranges_text(self.concealed)
        return self._reader.notes + ([f"Lost frames were concealed: {lost}."] if lost else [])

    @property
    def concealed(self) -> list[tuple[int, int]]:
        """Half-open ranges of the lost frames that were met and concealed so far, ascending."""
        return list(self._concealment.lost) if self._concealment else []

    @property
    def info(self) -> VideoInfo:
        """Size, format, colour and timing of the frames."""
        h = self._reader.header
        return VideoInfo(
            width=h.width,
            height=h.height,
            format=pixel_format(h.pix_fmt),
            frame_rate=from_ratio(h.frame_rate),
            time_base=from_ratio(h.time_base),
            color_range=h.color_range,
            color_primaries=h.color_primaries,
            color_transfer=h.color_transfer,
            color_matrix=h.color_matrix,
            chroma_location=h.chroma_location,
            sample_aspect=from_ratio(h.sample_aspect),
            rotation=h.rotation,
        )

    def streams(self) -> StreamsRecord | None:
        """Audio and subtitles, None where there are none.

        Raises:
            CorruptError: they are damaged.
        """
        return self._reader.streams()

    def time(self, index: int) -> Fraction:
        """When a frame is shown, in seconds from the first one; the index may be len(self)."""
        info = self.info
        if info.time_base is not None:
            last = min(index, len(self) - 1)
            origin, pts = self._pts(0), self._pts(last)
            if origin is not None and pts is not None:
                step = 1 / info.frame_rate if info.frame_rate else Fraction(0)
                return (pts - origin) * info.time_base + (index - last) * step
        return index / (info.frame_rate or DEFAULT_FRAME_RATE)

    def frame_at(self, seconds: float) -> Frame:
        """The frame that is shown at a time, in seconds from the first one.

        Raises:
            IndexError: none is.
        """
        if not 0 <= seconds < self.time(len(self)):
            raise IndexError(f"no frame at {seconds:g} of {float(self.time(len(self))):g} seconds")
        nearly = Fraction(seconds) + Fraction(1, 10**9)  # 0.04 is a little less than 1/25
        return self[bisect_right(range(len(self)), nearly, key=self.time) - 1]

    def close(self) -> None:
        """Closes the file."""
        self._packets.stop_ahead()
        self._reader.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._reader.frames

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = operator.index(index)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        frame = (self._concealment or self._packets).frame(index)
        # Copies: the caller may change what it gets, and the frames here are kept.
        planes = [plane.copy() for plane in frame.planes]
        if self._torch_planes:
            import torch

            tensors = [torch.from_numpy(plane) for plane in planes]
            return Frame(tensors, frame.pts)  # type: ignore[arg-type]  # its type is numpy's
        return Frame(planes, frame.pts)

    def _pts(self, index: int) -> int | None:
        record = self._reader.segment(self._reader.find(index)[0])
        return record.pts[index - record.first_frame] if record.pts else None

    def __iter__(self) -> Iterator[Frame]:
        return self.read(0, len(self))

    def read(self, first: int, last: int) -> Iterator[Frame]:
        """The frames `first` to `last` - 1.

        With more than one thread symbols are decoded beside the pictures, a packet ahead.
        """
        with self._packets.ahead(last):
            for index in range(first, last):
                yield self[index]

    def rgb(self, device: str = "cpu") -> RgbFrames:
        """The frames as RGB tensors: `video.rgb()[a:b]` is one of [frames, 3, height, width].

        Args:
            device: Of torch, to which they are moved.

        Raises:
            UnsupportedError: swscale does not have the matrix of the frames.
        """
        from innvc.rgb import RgbFrames

        return RgbFrames(self, device)

    def check_symbols(self, segment: int, packet: int) -> None:
        """Reads a packet and decodes all its symbols, whose checksums must match; in order.

        Raises:
            DamageError: it is damaged, or what it needs; the error names the frames.
            VerificationError: symbols differ from the encoder's.
        """
        self._packets.check_symbols(segment, packet)


def frame_range(frames: tuple[int | None, int | None] | None, count: int) -> tuple[int, int]:
    """The ends of a half-open range of frames, absent ends filled in.

    Raises:
        UsageError: it is empty or not within the video's frames.
    """
    first, last = frames or (None, None)
    first = 0 if first is None else first
    last = count if last is None else last
    if not 0 <= first < last <= count:
        raise UsageError(
            f"Frames {first}:{last} are not in the video's {count}.", f"Choose within 0:{count}."
        )
    return first, last
