"""Frames of an .innv file by packets: what is decoded for a frame, kept, and decoded ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from innvc.bitstream.reader import Reader
from innvc.errors import CorruptError, InnvcError
from innvc.video.formats import Frame

if TYPE_CHECKING:
    import torch

    from innvc.bitstream.header import HeaderRecord
    from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
    from innvc.decoded import Before, Picture
    from innvc.decoder import SegmentDecoder
    from innvc.model.contexts import Context
    from innvc.picture_decoder import PictureDecoder
    from innvc.symbols import Symbols


class PacketDecoder:
    """Decodes the packets that wanted frames need; keeps one of them and one segment's model.

    Args:
        reader: Of the file.
        device, exact, layers, only: As for `reader.VideoReader`.
    """

    def __init__(
        self, reader: Reader, device: str, exact: bool, layers: int | None, only: str | None
    ) -> None:
        self._reader = reader
        self._device = device
        self._exact = exact
        self._layers = layers
        self._only = only
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

    def frame(self, index: int) -> Frame:
        """A frame of the video; its arrays are kept.

        Raises:
            DamageError: it is lost; the error names all that are.
        """
        segment, packet = self._reader.find(index)
        record = self._reader.segment(segment)
        try:
            self._load(segment, packet)
        except InnvcError:
            self._next = None  # its symbols may come from those that failed
            raise
        return self._frames[index - record.first_frame - record.starts()[packet]]

    def field_alone(self, index: int) -> Frame:
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

    @contextmanager
    def ahead(self, end: int) -> Iterator[None]:
        """With more than one thread symbols are decoded beside the pictures, a packet ahead.

        Args:
            end: Frames from this one on will not be asked for.
        """
        import torch

        self.stop_ahead()
        self._end = end
        try:
            if torch.get_num_threads() > 1:
                self._ahead = ThreadPoolExecutor(1, "innvc", torch.set_num_threads, (1,))
            yield
        finally:
            self.stop_ahead()
            torch.set_num_threads(torch.get_num_threads())  # the other thread's was global in part

    def stop_ahead(self) -> None:
        """Ends what is decoded ahead."""
        if self._ahead is not None:
            self._stop.set()
            self._ahead.shutdown(cancel_futures=True)
            self._stop.clear()
        self._ahead, self._next = None, None

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
