"""Records of an .innv file and the header: typed, bounded, MessagePack arrays (docs/format.md).

A record is checked twice: msgspec checks types and bounds, ``validate`` what bounds cannot say.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from innvc.config import ModelConfig
from innvc.errors import CorruptError, LimitError, UnsupportedError

# The packed channels at packing 2 (2x2 space-to-depth) of each family of pixel formats. Repeats
# names of innvc.video.formats, whose import costs numpy; a test compares the two.
_PACKED = {"gray": 4, "yuv420p": 6, "yuv422p": 8, "yuv444p": 12, "gbrp": 12}
PIX_FMTS = tuple(name + depth for depth in ("", "10le", "12le") for name in _PACKED)

U8 = Annotated[int, Meta(ge=0, le=255)]
U31 = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Dimension = Annotated[int, Meta(ge=1, le=65535)]
U32 = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Offset = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Length = Annotated[int, Meta(ge=0, le=1 << 30)]
Coded = Annotated[bytes, Meta(max_length=1 << 30)]
Frames = Annotated[int, Meta(ge=1, le=(1 << 31) - 1)]
Ratio = tuple[U31, U31]  # numerator, denominator; (0, 0) is unknown
Name = Annotated[str, Meta(max_length=64)]

MAX_LAYERS = 64
MAX_SUBBANDS = 16


@dataclass(frozen=True)
class Limits:
    """What a file may declare before it is refused, so that a hostile one cannot exhaust memory."""

    dimension: int = 65535  # samples, of width and of height
    frame_samples: int = 1 << 28  # of all planes together
    frames: int = 1 << 24
    parameters: int = 1 << 28  # of the network, a rough count
    header_bytes: int = 1 << 16
    record_bytes: int = 1 << 26  # of a segment record and of the index
    chunk_bytes: int = 1 << 30


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records."""

    def validate(self) -> None:
        """Checks what types and bounds cannot express.

        Raises:
            ValueError: the fields contradict each other; the message says how.
            UnsupportedError: a name is unknown to this version.
        """


R = TypeVar("R", bound=Record)


def encode_record(record: Record) -> bytes:
    """Encodes a record as MessagePack, after the same checks that reading applies.

    Raises:
        ValueError: the record is invalid (msgspec.ValidationError is one too).
        UnsupportedError: a name is unknown to this version.
    """
    payload = msgspec.msgpack.encode(record)
    msgspec.msgpack.decode(payload, type=type(record)).validate()
    return payload


def decode_record(payload: bytes | memoryview, kind: type[R], chunk: str) -> R:
    """Decodes and validates the record of a chunk.

    Raises:
        CorruptError: the bytes are not a valid record of this kind.
        UnsupportedError: a name is unknown to this version.
    """
    try:
        record = msgspec.msgpack.decode(payload, type=kind)
        record.validate()
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error).rstrip(".")
        raise CorruptError(f"The {chunk} chunk is invalid: {reason}.") from error
    return record


def to_ratio(value: Fraction | None) -> tuple[int, int]:
    """A fraction as stored; None becomes (0, 0)."""
    return (0, 0) if value is None else (value.numerator, value.denominator)


def from_ratio(ratio: tuple[int, int]) -> Fraction | None:
    """The inverse of :func:`to_ratio`."""
    return Fraction(*ratio) if ratio[1] else None


def packed_channels(pix_fmt: str, packing: int) -> int:
    """Channels of a frame after packing, the input of the backbone.

    Raises:
        UnsupportedError: the pixel format is unknown.
    """
    if pix_fmt not in PIX_FMTS:
        raise UnsupportedError(
            f"Pixel format '{pix_fmt}' is not supported.", f"Known are {', '.join(PIX_FMTS)}."
        )
    family = pix_fmt.removesuffix("10le").removesuffix("12le")
    return 4 if packing == 1 else _PACKED[family]


def latent_channels(pix_fmt: str, model: ModelConfig) -> int:
    """Channels of the latent: each squeeze multiplies by four, the last stage has none.

    Raises:
        UnsupportedError: the pixel format is unknown.
    """
    channels = packed_channels(pix_fmt, model.packing)
    return channels * int(4 ** (model.stages - 1))


class HeaderRecord(Record, frozen=True, kw_only=True):
    """The HEAD chunk: everything about the whole file that its decoder needs.

    Colour fields are H.273 code points, ``chroma_location`` is ffmpeg's AVChromaLocation.
    """

    width: Dimension  # samples
    height: Dimension
    pix_fmt: Name  # one of PIX_FMTS
    frames: Frames  # of the whole file
    frame_rate: Ratio = (0, 0)  # frames a second; (0, 0) is unknown
    time_base: Ratio = (0, 0)  # seconds a unit of pts; (0, 0) is a constant rate, no pts
    color_range: Annotated[int, Meta(ge=0, le=2)] = 0  # 0 unknown, 1 limited, 2 full
    color_primaries: U8 = 2
    color_transfer: U8 = 2
    color_matrix: U8 = 2
    chroma_location: Annotated[int, Meta(ge=0, le=6)] = 0
    sample_aspect: Ratio = (0, 0)
    rotation: Literal[0, 90, 180, 270] = 0  # degrees counter-clockwise, for display
    keyint: Frames = 256  # frames from one independent packet to the next, at most
    lambda_: Annotated[float, Meta(ge=0)] = 1.0  # informative
    preset: Name = ""  # informative
    step_base: Annotated[int, Meta(ge=-1024, le=1024)] = 0  # log2 of the base step, sixteenths
    encoder: Name = ""  # informative, such as "innvc 0.1.0"
    model: ModelConfig

    def validate(self) -> None:
        for name in ("frame_rate", "time_base", "sample_aspect"):
            numerator, denominator = getattr(self, name)
            if (numerator == 0) != (denominator == 0):
                raise ValueError(f"{name} {numerator}/{denominator} has one zero")
        if not math.isfinite(self.lambda_):
            raise ValueError("lambda is not finite")
        validate_model(self.model, latent_channels(self.pix_fmt, self.model))

    def check_limits(self, limits: Limits) -> None:
        """Refuses sizes above the limits.

        Raises:
            LimitError: a size is above its limit.
        """
        planes = {"gray": 1.0, "yuv420p": 1.5, "yuv422p": 2.0}
        family = self.pix_fmt.removesuffix("10le").removesuffix("12le")
        sizes = {
            "width": (self.width, limits.dimension),
            "height": (self.height, limits.dimension),
            "samples a frame": (
                int(self.width * self.height * planes.get(family, 3.0)),
                limits.frame_samples,
            ),
            "frames": (self.frames, limits.frames),
            "parameters": (_parameter_estimate(self.model), limits.parameters),
        }
        for name, (value, limit) in sizes.items():
            if value > limit:
                raise LimitError(
                    f"The file declares {name} of {value}, above the limit of {limit}."
                )


def validate_model(model: ModelConfig, channels: int) -> None:
    """Checks a model configuration against the number of latent channels it must have.

    Raises:
        ValueError: fields contradict each other or the channels; the message says how.
    """
    if model.gop & (model.gop - 1):
        raise ValueError(f"gop {model.gop} is not a power of two")
    if sum(model.groups) != channels:
        raise ValueError(f"groups sum to {sum(model.groups)}, latent channels are {channels}")
    if sum(model.layers) != len(model.groups):
        raise ValueError(f"layers sum to {sum(model.layers)}, groups are {len(model.groups)}")
    if len(model.layers) > MAX_LAYERS:
        raise ValueError(f"{len(model.layers)} layers are more than {MAX_LAYERS}")
    if len(model.coupling) not in (0, model.stages - 1):
        raise ValueError(
            f"{len(model.coupling)} coupling widths for {model.stages} stages (none or one less)"
        )
    field = model.field
    if field is not None:
        if not len(field.channels) == len(field.depths) == len(field.scales):
            raise ValueError("channels, depths and scales of the field differ in length")
        if not field.channels:
            raise ValueError("the field has no stage")


def _parameter_estimate(model: ModelConfig) -> int:
    """A rough count of parameters, from the terms that grow fastest."""
    total = sum(width * width for width in model.coupling)
    total += model.prior.hidden * sum(model.groups)
    field = model.field
    if field is not None:
        time, height, width = field.grid_size
        total += time * height * width * field.grid_channels
        total += time * field.local_channels
        total += (field.grid_channels << field.grid_levels) * field.channels[0] * 9
        for depth, channels in zip(field.depths, field.channels, strict=True):
            total += depth * 2 * field.expansion * channels * channels
        for before, after in zip(field.channels, field.channels[1:], strict=False):
            total += before * after
    return total


class SegmentRecord(Record, frozen=True):
    """The SEGM chunk: a run of frames with its own parameters."""

    first_frame: U31
    frames: Frames
    sizes: Annotated[list[Annotated[int, Meta(ge=0, le=4)]], Meta(min_length=1, max_length=1 << 24)]
    """log2 of the frames of each packet."""
    keys: Annotated[list[U31], Meta(min_length=1, max_length=1 << 24)]
    """Numbers of the packets that do not read the packet before them; the first is 0."""
    pts: Annotated[
        list[Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]], Meta(max_length=1 << 24)
    ] = []
    """Time of each frame in units of the header's time_base; empty for a constant rate."""

    def validate(self) -> None:
        if sum(1 << size for size in self.sizes) != self.frames:
            raise ValueError(f"packets do not add up to the segment's {self.frames} frames")
        ordered = all(a < b for a, b in zip(self.keys, self.keys[1:], strict=False))
        if self.keys[0] != 0 or not ordered or self.keys[-1] >= len(self.sizes):
            raise ValueError("keys are not ascending packet numbers from 0")
        if self.pts and len(self.pts) != self.frames:
            raise ValueError(f"{len(self.pts)} time stamps for {self.frames} frames")

    def validate_in(self, header: HeaderRecord) -> None:
        """Checks the record against the header.

        Raises:
            ValueError: the two contradict each other.
        """
        if 1 << max(self.sizes) > header.model.gop:
            raise ValueError(f"a packet is longer than the gop of {header.model.gop}")
        if self.pts and not header.time_base[1]:
            raise ValueError("there are time stamps but no time base")

    def starts(self) -> list[int]:
        """First frame of each packet, counted from the start of the segment."""
        starts, position = [], 0
        for size in self.sizes:
            starts.append(position)
            position += 1 << size
        return starts

    def key_before(self, packet: int) -> int:
        """The packet at which decoding must begin to reach this one."""
        return self.keys[bisect_right(self.keys, packet) - 1]


class ParameterRecord(Record, frozen=True):
    """The PARM chunk: the coded parameters of a segment, by kind."""

    side: Coded = b""
    grid: Coded = b""
    weights: Coded = b""


Row = Annotated[list[Length], Meta(max_length=MAX_LAYERS)]


class PacketRecord(Record, frozen=True):
    """The PACK chunk: the latent of one group of frames.

    ``data`` is the concatenation of all layers of subband 0, then of subband 1, and so on, coarse
    to fine.
    """

    number: U31  # in the segment
    symbols_crc: Annotated[list[U32], Meta(max_length=MAX_LAYERS)]
    """CRC-32 of the decoded symbols of each layer, over all subband frames."""
    lengths: Annotated[list[Row], Meta(min_length=1, max_length=MAX_SUBBANDS)]
    """Bytes of each layer, a row for each subband frame."""
    data: Coded

    @property
    def subbands(self) -> int:
        return len(self.lengths)

    @property
    def layers(self) -> int:
        """Layers that are present; fewer than the model has after a cut."""
        return len(self.symbols_crc)

    def validate(self) -> None:
        if self.subbands & (self.subbands - 1):
            raise ValueError(f"{self.subbands} subband frames are not a power of two")
        if any(len(row) != self.layers for row in self.lengths):
            raise ValueError("subband frames differ in their number of layers")
        if sum(map(sum, self.lengths)) != len(self.data):
            raise ValueError("layer lengths do not add up to the data")

    def layer_slice(self, subband: int, layer: int) -> memoryview:
        """The coded bytes of one layer of one subband frame, a view without a copy.

        Raises:
            IndexError: the packet has no such subband frame or layer.
        """
        if not (0 <= subband < self.subbands and 0 <= layer < self.layers):
            raise IndexError(f"no layer {layer} of subband frame {subband}")
        start = sum(map(sum, self.lengths[:subband])) + sum(self.lengths[subband][:layer])
        return memoryview(self.data)[start : start + self.lengths[subband][layer]]

    def cut(self, layers: int) -> PacketRecord:
        """The packet with its first ``layers`` layers only; the packet itself if it has no more."""
        if layers >= self.layers:
            return self
        data = b"".join(
            self.layer_slice(subband, layer)
            for subband in range(self.subbands)
            for layer in range(layers)
        )
        lengths = [row[:layers] for row in self.lengths]
        return PacketRecord(self.number, self.symbols_crc[:layers], lengths, data)


def cut_layers(payload: bytes | memoryview, layers: int) -> bytes:
    """Drops the layers from ``layers`` on from the payload of a PACK chunk.

    Raises:
        CorruptError: the payload is not a valid packet.
        ValueError: ``layers`` is negative.
    """
    if layers < 0:
        raise ValueError(f"cannot keep {layers} layers")
    return encode_record(decode_record(payload, PacketRecord, "PACK").cut(layers))


class SegmentEntry(Record, frozen=True):
    """Where a segment lies: one entry of the INDX chunk. Offsets count bytes of the file."""

    segment_offset: Offset
    parameters_offset: Offset
    first_frame: U31
    frames: Frames
    packet_offsets: Annotated[list[Offset], Meta(min_length=1, max_length=1 << 24)]


class IndexRecord(Record, frozen=True):
    """The INDX chunk: all segments in order."""

    segments: Annotated[list[SegmentEntry], Meta(min_length=1, max_length=1 << 24)]

    def offsets(self) -> list[int]:
        """The offsets of all chunks that the index lists, in the order of the file."""
        found = []
        for entry in self.segments:
            found += [entry.segment_offset, entry.parameters_offset, *entry.packet_offsets]
        return found

    def validate(self) -> None:
        offsets = self.offsets()
        if any(a >= b for a, b in zip(offsets, offsets[1:], strict=False)):
            raise ValueError("offsets do not ascend")
        position = 0
        for entry in self.segments:
            if entry.first_frame != position or len(entry.packet_offsets) > entry.frames:
                raise ValueError(f"the segment at frame {entry.first_frame} does not fit")
            position += entry.frames
