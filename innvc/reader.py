"""Random access to the frames of an .innv file."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from innvc.bitstream.header import from_ratio
from innvc.bitstream.reader import Reader
from innvc.concealment import Concealment
from innvc.errors import CorruptError, InnvcError, UsageError, ranges_text
from innvc.video.formats import Frame, VideoInfo, pixel_format

if TYPE_CHECKING:
    import torch

    from innvc.bitstream.header import HeaderRecord
    from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
    from innvc.decoded import Before, Picture
    from innvc.decoder import SegmentDecoder
    from innvc.model.contexts import Context
    from innvc.picture_decoder import PictureDecoder
    from innvc.symbols import Symbols


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
    ) -> None:
        if layers is not None and layers < 1:
            raise UsageError(f"Cannot decode {layers} layers.", "Give a number from 1.")
        if only not in (None, "field", "latent"):
            raise UsageError(f"Cannot decode only '{only}'.", "Choose field or latent.")
        if only == "field" and layers is not None:
            raise UsageError("The field alone has no layers.", "Leave out --layers or --only.")
        self._reader = Reader(path, partial=partial)
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
        self._layers = layers
        self._only = only
        self._exact = exact
        self._device = device
        self._torch_planes = torch_planes
        self._segment = -1
        self._decoder: SegmentDecoder | None = None
        self._picture: PictureDecoder | None = None
        self._packet = -1  # of the frames that are held
        self._frames: list[Frame] = []
        self._last: tuple[int, Before] | None = None  # number of the packet decoded last
        self._record: tuple[int, int, PacketRecord] | None = None  # the packet read last
        # Decodes symbols, and those of the next packet as far as frames before `_end` need it.
        self._ahead: ThreadPoolExecutor | None = None
        self._stop = Event()
        self._end = 0
        self._next: tuple[int, int, Symbols] | None = None
        self._concealment: Concealment | None = None
        if conceal:
            with_field = header.model.field is not None and header.model.field_role != "picture"
            self._concealment = Concealment(
                self._decoded,
                self._field_alone if with_field and only != "latent" else None,
                self._pts,
                len(self),
                self.info,
            )

    @property
    def header(self) -> Any:
        """The header record."""
        return self._reader.header

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

    def close(self) -> None:
        """Closes the file."""
        self._stop_ahead()
        self._reader.close()

    def _stop_ahead(self) -> None:
        if self._ahead is not None:
            self._stop.set()
            self._ahead.shutdown(cancel_futures=True)
            self._stop.clear()
        self._ahead, self._next = None, None

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
        frame = self._concealment.frame(index) if self._concealment else self._decoded(index)
        # Copies: the caller may change what it gets, and the frames here are kept.
        planes = [plane.copy() for plane in frame.planes]
        if self._torch_planes:
            import torch

            planes = [torch.from_numpy(plane) for plane in planes]
        return Frame(planes, frame.pts)

    def _decoded(self, index: int) -> Frame:
        segment, packet = self._reader.find(index)
        record = self._reader.segment(segment)
        try:
            self._load(segment, packet)
        except InnvcError:
            self._next = None  # its symbols may come from those that failed
            raise
        return self._frames[index - record.first_frame - record.starts()[packet]]

    def _field_alone(self, index: int) -> Frame:
        """The field's picture of a frame of a packet that is lost, with its motion if it is there.

        Raises:
            CorruptError: the segment's parameters are damaged.
        """
        segment, packet = self._reader.find(index)
        decoder, place = self._select(segment), index - self._reader.segment(segment).first_frame
        if packet != self._packet:
            try:
                coded = self._coded(segment, packet)
                motion, half = decoder.motion(coded.motion, coded.subbands), coded.intra
            except CorruptError:
                motion, half = None, False
            picture = decoder.synthesis(packet, None, motion, half)
            self._frames, self._packet = decoder.frames(packet, picture.frames), packet
        return self._frames[place - decoder.starts[packet]]

    def _pts(self, index: int) -> int | None:
        record = self._reader.segment(self._reader.find(index)[0])
        return record.pts[index - record.first_frame] if record.pts else None

    def __iter__(self) -> Iterator[Frame]:
        return self.read(0, len(self))

    def read(self, first: int, last: int) -> Iterator[Frame]:
        """The frames `first` to `last` - 1.

        With more than one thread symbols are decoded beside the pictures, a packet ahead.
        """
        import torch

        self._stop_ahead()
        try:
            if torch.get_num_threads() > 1:
                self._ahead = ThreadPoolExecutor(1, "innvc", torch.set_num_threads, (1,))
            for index in range(first, last):
                self._end = last
                yield self[index]
        finally:
            self._stop_ahead()
            torch.set_num_threads(torch.get_num_threads())  # the other thread's was global in part

    def _load(self, segment: int, packet: int) -> None:
        """Decodes a packet, after those that it reads and that were not the last."""
        if self._reader.header.model.field_role == "picture":
            self._load_picture(segment, packet)
            return
        decoder = self._select(segment)
        if packet == self._packet:
            return
        if self._only == "field":
            coded = self._coded(segment, packet)
            with self._reader.losing(segment, packet):
                motion = decoder.motion(coded.motion, coded.subbands)
            picture = decoder.synthesis(packet, None, motion, coded.intra)
        else:
            passed, whole = [packet], self._reader.header.model.prediction
            while self._reads_before(segment, passed[-1]) and not self._holds(passed[-1], whole):
                passed.append(passed[-1] - 1)
            for number in reversed(passed[1:]):
                if whole:
                    self._decode(decoder, segment, number)
                else:
                    low, before = self._coded(segment, number), self._before(number)
                    with self._reader.losing(segment, number):
                        self._last = number, decoder.without_picture(low, before, self._layers, 1)
            picture = self._decode(decoder, segment, packet)
        self._frames, self._packet = decoder.frames(packet, picture.frames), packet

    def _select(self, segment: int) -> SegmentDecoder:
        """The decoder of a segment."""
        if segment != self._segment or self._decoder is None:
            self._decoder = self._open_segment(segment)
            self._segment, self._packet, self._last = segment, -1, None
        return self._decoder

    def _reads_before(self, segment: int, packet: int) -> bool:
        """Whether a packet's low-pass frame reads the packet before."""
        keys = self._reader.segment(segment).keys
        return packet not in keys and not self._coded(segment, packet).intra

    def _coded(self, segment: int, packet: int) -> PacketRecord:
        """The record of a packet, read once for a packet that stands alone."""
        if self._record is None or self._record[:2] != (segment, packet):
            self._record = segment, packet, self._reader.packet(segment, packet)
        return self._record[2]

    def _holds(self, packet: int, whole: bool) -> bool:
        """Whether what a packet reads of the one before is there; `whole`: its frames, too."""
        before = self._before(packet)
        return before is not None and not (whole and before.references is None)

    def _before(self, packet: int) -> Before | None:
        return self._last[1] if self._last is not None and self._last[0] == packet - 1 else None

    def _decode(self, decoder: SegmentDecoder, segment: int, packet: int) -> Picture:
        coded, before = self._coded(segment, packet), self._before(packet)
        with self._reader.losing(segment, packet):
            return self._picture_of(decoder, segment, coded, before)

    def _picture_of(
        self, decoder: SegmentDecoder, segment: int, coded: PacketRecord, before: Before | None
    ) -> Picture:
        packet = coded.number
        if self._next is not None and self._next[:2] == (segment, packet):
            symbols = self._next[2]
        else:
            context = before.context if before else None
            symbols = self._symbols(decoder, coded, lambda: context)
        self._look_ahead(decoder, segment, packet + 1, symbols)
        picture = decoder.picture(coded, symbols, before, self._layers, self._only != "latent")
        from innvc.decoded import Before

        self._last = packet, Before(symbols.result().low, picture.references)
        return picture

    def _symbols(
        self, decoder: SegmentDecoder, coded: PacketRecord, before: Callable[[], Context | None]
    ) -> Symbols:
        """Begins to decode the symbols of a packet, or decodes them."""
        from innvc.symbols import Symbols

        return Symbols(
            lambda give: decoder.symbols(coded, before(), self._layers, found=give),
            self._ahead,
            self._stop.is_set,
        )

    def _look_ahead(
        self, decoder: SegmentDecoder, segment: int, packet: int, before: Symbols
    ) -> None:
        """Has the symbols of a packet follow, if its frames will be asked for."""
        record = self._reader.segment(segment)
        if self._ahead is None or packet >= len(record.sizes):
            return
        if record.first_frame + record.starts()[packet] >= self._end:
            return
        try:
            coded = self._reader.packet(segment, packet)
        except InnvcError:
            return  # told when its frames are asked for
        found = self._symbols(decoder, coded, lambda: before.result().low)
        self._next = segment, packet, found

    def _load_picture(self, segment: int, packet: int) -> None:
        """Computes a packet's frames from the field, which is the whole model."""
        if segment != self._segment or self._picture is None:
            self._picture = self._open_picture(segment)
            self._segment, self._packet = segment, -1
        if packet != self._packet:
            self._frames, self._packet = self._picture.frames(packet), packet

    def _open_segment(self, segment: int) -> SegmentDecoder:
        from innvc.decoder import SegmentDecoder

        with self._reader.losing(segment):
            return SegmentDecoder(*self._parts(segment))

    def _open_picture(self, segment: int) -> PictureDecoder:
        from innvc.picture_decoder import PictureDecoder

        with self._reader.losing(segment):
            return PictureDecoder(*self._parts(segment))

    def _parts(
        self, segment: int
    ) -> tuple[HeaderRecord, SegmentRecord, ParameterRecord, torch.device, bool]:
        from innvc.device import select

        reader = self._reader
        record, parameters = reader.segment(segment), reader.parameters(segment)
        return reader.header, record, parameters, select(self._device), self._exact

    def check_symbols(self, segment: int, packet: int) -> None:
        """Reads a packet and decodes all its symbols, whose checksums must match; in order.

        Raises:
            DamageError: it is damaged, or what it needs; the error names the frames.
            VerificationError: symbols differ from the encoder's.
        """
        if self._reader.header.model.field_role == "picture":
            self._reader.packet(segment, packet)
            self._load_picture(segment, packet)
            return
        decoder, record = self._select(segment), self._coded(segment, packet)
        if self._reads_before(segment, packet) and self._before(packet) is None:
            return  # lost with the one before, whose error said so
        with self._reader.losing(segment, packet):
            self._last = packet, decoder.without_picture(record, self._before(packet))


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
