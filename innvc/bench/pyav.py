"""Peers through PyAV: frames to an elementary stream and back, without a container."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.stream import Stream

from innvc.bench.peers import NotPossible, Peer, coded_format
from innvc.bench.planes import Planes, from_coded, padded_size, to_coded
from innvc.video.formats import Frame, PixelFormat, VideoInfo
from innvc.video.layouts import LAYOUTS, frame_to_planes, planes_to_frame

_LAMBDA = 118  # FF_QP2LAMBDA: what global_quality counts in
_HEVC_SETS, _H264_SETS = (32, 33, 34), (7, 8)
_HEVC_SEI, _H264_SEI = (39,), (6,)
_USER_TEXT = 5  # SEI payload "user data unregistered"


@dataclass(frozen=True)
class Coded:
    """What an encode and its decode gave.

    Attributes:
        bytes: Of the elementary stream: all packets, and parameter sets or extradata once.
        frames: Decoded planes in the clip's format, in display order.
    """

    bytes: int
    frames: list[Planes]
    encode_seconds: float
    decode_seconds: float


def _options(peer: Peer, quality: float) -> dict[str, str]:
    options = peer.options_at(quality)
    return {
        k: str(round(float(v.removesuffix("*lambda")) * _LAMBDA)) if v.endswith("*lambda") else v
        for k, v in options.items()
    }


def _units(data: bytes) -> Iterator[bytes]:
    """NAL units of an Annex B piece, without start codes."""
    for unit in data.split(b"\0\0\1")[1:]:
        yield unit.rstrip(b"\0")


def _lean(packets: list[av.Packet[Stream]], codec: str) -> list[av.Packet[Stream]]:
    """H.264 and HEVC without what a file needs once only: repeated parameter sets, encoder text."""
    sets, sei = (_HEVC_SETS, _HEVC_SEI) if codec == "hevc" else (_H264_SETS, _H264_SEI)
    seen: set[bytes] = set()
    result = []
    for packet in packets:
        kept = []
        for unit in _units(bytes(packet)):
            kind = unit[0] >> 1 & 0x3F if codec == "hevc" else unit[0] & 0x1F
            payload = unit[2] if codec == "hevc" else unit[1]
            if (kind in sets and unit in seen) or (kind in sei and payload == _USER_TEXT):
                continue
            seen |= {unit} if kind in sets else set()
            kept.append(b"\0\0\0\1" + unit)
        lean = av.Packet(b"".join(kept))
        lean.pts, lean.dts, lean.time_base = packet.pts, packet.dts, packet.time_base
        result.append(lean)
    return result


def _layout(peer: Peer, coded: PixelFormat) -> str:
    """FFV1 has 8-bit RGB in packed form only."""
    return "bgr0" if peer.encoder == "ffv1" and coded.name == "gbrp" else coded.name


def encode(
    peer: Peer, info: VideoInfo, frames: Sequence[Frame], quality: float
) -> tuple[list[av.Packet[Stream]], bytes, float]:
    """Encodes frames.

    Returns:
        Packets in coding order, the extradata that a decoder needs, seconds.

    Raises:
        NotPossible: the encoder refuses the format or the size.
    """
    coded = coded_format(peer, info.format)
    context = av.CodecContext.create(peer.encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = padded_size(info.format, info.width, info.height)
    context.pix_fmt = _layout(peer, coded)
    rate = info.frame_rate or Fraction(25)
    context.framerate, context.time_base = rate, 1 / rate
    # PyAV's default, slices in parallel, makes x264 cut every picture into slices.
    context.thread_type, context.thread_count = "AUTO", 1
    if info.color_range:
        context.color_range = info.color_range
    if info.format.family == "rgb":
        context.colorspace = 0
    context.options = _options(peer, quality)
    pictures = []
    for index, frame in enumerate(frames):
        picture = planes_to_frame(
            to_coded(frame.planes, info.format, coded), coded, layout=context.pix_fmt
        )
        picture.pts, picture.time_base = index, 1 / rate  # both: PyAV rescales by the frame's own
        if info.color_range:
            picture.color_range = info.color_range
        pictures.append(picture)
    packets: list[av.Packet[Stream]] = []
    began = time.monotonic()
    try:
        context.open()
    except av.error.FFmpegError as error:
        size = f"{info.width}x{info.height} {coded.name}"
        raise NotPossible(f"{peer.encoder} refuses {size}: {error.strerror}") from error
    if context.options:  # FFmpeg leaves what it does not know
        raise RuntimeError(f"{peer.encoder} does not know {', '.join(context.options)}")
    for picture in pictures:
        packets += context.encode(picture)
    packets += context.encode(None)
    seconds = time.monotonic() - began
    if peer.decoder in ("hevc", "h264"):
        return _lean(packets, peer.decoder), b"", seconds
    extradata = bytes(context.extradata or b"") if peer.encoder == "ffv1" else b""
    return packets, extradata, seconds


def decode(
    peer: Peer, info: VideoInfo, packets: Sequence[av.Packet[Stream]], extradata: bytes
) -> list[Planes]:
    """Decodes what `encode` gave to planes of the clip's format, cropped to its size."""
    coded = coded_format(peer, info.format)
    context = av.CodecContext.create(peer.decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_type, context.thread_count = "NONE", 1
    context.width, context.height = padded_size(info.format, info.width, info.height)
    if extradata:
        context.extradata = extradata
    if peer.encoder == "prores_ks":
        context.codec_tag = "ap4h" if coded.shift_x == 0 else "apch"
    result: list[Planes] = []
    for packet in [*packets, None]:
        for picture in context.decode(packet):
            if picture.pts != len(result):
                raise RuntimeError(f"{peer.decoder} gave picture {picture.pts} as {len(result)}")
            result.append(_planes(picture, info, coded))
    return result


def _planes(picture: av.VideoFrame, info: VideoInfo, coded: PixelFormat) -> Planes:
    found = LAYOUTS[picture.format.name].format
    # x264 codes grey as 4:2:0 without colour; ProRes 4:4:4 comes back with 12 bits.
    shape, wanted = ((f.family, f.shift_x, f.shift_y) for f in (found, coded))
    if (shape != wanted and coded.family != "gray") or found.depth < coded.depth:
        raise RuntimeError(f"{coded.name} came back as {picture.format.name}")
    planes = frame_to_planes(picture)[: coded.planes]
    return from_coded(planes, info.format, found, info.width, info.height)


def code(peer: Peer, info: VideoInfo, frames: Sequence[Frame], quality: float) -> Coded:
    """Encodes and decodes one point.

    Raises:
        NotPossible: the peer cannot code the clip.
    """
    packets, extradata, encode_seconds = encode(peer, info, frames, quality)
    began = time.monotonic()
    decoded = decode(peer, info, packets, extradata)
    seconds = time.monotonic() - began
    if len(decoded) != len(frames):
        raise RuntimeError(f"{peer.decoder} gave {len(decoded)} of {len(frames)} frames")
    size = len(extradata) + sum(packet.size for packet in packets)
    return Coded(size, decoded, encode_seconds, seconds)
