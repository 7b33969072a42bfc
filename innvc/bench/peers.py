"""The codecs that InnVC is compared with: how each is run, and over which qualities.

Every peer runs with one thread, since threads cost bits and make results depend on the machine,
with one intra frame at the start (or only intra frames), and tuned for PSNR where it has a switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from innvc.video.formats import PIXEL_FORMATS, PixelFormat

# info=0 keeps x265 from writing its settings as text into the stream.
_X265 = "log-level=none:info=0:no-wpp=1:frame-threads=1:pools=none"
_X265_RA = f"keyint=-1:no-open-gop=1:{_X265}:crf=Q"
_X265_INTRA = f"keyint=1:scenecut=0:bframes=0:{_X265}:crf=Q"
_CRF = (0, *range(2, 51, 5))
_CRF_10BIT = (-8, -3, *_CRF[1:])  # x265 goes down to -12
_ALL = ("420", "422", "444", "gray", "rgb")


@dataclass(frozen=True)
class Peer:
    """A codec and how it is run.

    Attributes:
        name: As `--codecs` has it.
        engine: "pyav" is the FFmpeg inside PyAV; "ffmpeg" the program of imageio-ffmpeg.
        encoder, decoder: FFmpeg's names of them.
        options: Encoder options; Q stands for the quality.
        ladder: Qualities to choose points from, the best first; a single one is a lossless codec.
        start: Where in the ladder a curve begins.
        chroma: Kinds of planes that the encoder takes. 4:2:0 goes into 4:2:2 where only that fits.
        depths: Bits a sample it can code.
        raised: Codes a clip of fewer bits with depths[0] bits: samples shifted to the left, and
            back with rounding. Without, the clip's own depth is coded.
        stream: FFmpeg's muxer of an elementary stream, for the engine "ffmpeg".
        remark: What a reader must know to judge the curve.
    """

    name: str
    engine: Literal["pyav", "ffmpeg"]
    encoder: str
    decoder: str
    options: dict[str, str]
    ladder: tuple[float, ...]
    start: int
    chroma: tuple[str, ...] = _ALL
    depths: tuple[int, ...] = (8, 10, 12)
    raised: bool = False
    stream: str = ""
    remark: str = ""

    def options_at(self, quality: float) -> dict[str, str]:
        """The encoder's options for one point."""
        return {k: v.replace("Q", f"{quality:g}") for k, v in self.options.items()}

    def describe(self, quality: float | None = None) -> str:
        """Encoder and options in one line."""
        options = self.options if quality is None else self.options_at(quality)
        return " ".join([self.encoder, *(f"{k}={v}" for k, v in options.items())])


def _x265(name: str, parameters: str, raised: bool) -> Peer:
    return Peer(
        name,
        "pyav",
        "libx265",
        "hevc",
        {"preset": "veryslow", "tune": "psnr", "x265-params": parameters},
        _CRF_10BIT if raised else _CRF,
        6 if raised else 5,
        depths=(10,) if raised else (8, 10, 12),
        raised=raised,
    )


_LIST = (
    _x265("x265-ra", _X265_RA, False),
    _x265("x265-ra-10bit", _X265_RA, True),
    _x265("x265-intra", _X265_INTRA, False),
    _x265("x265-intra-10bit", _X265_INTRA, True),
    Peer(
        "svt-av1",
        "pyav",
        "libsvtav1",
        "libdav1d",
        {"preset": "2", "crf": "Q", "svtav1-params": "tune=1:keyint=-1:lp=1"},
        (1, 5, 10, 17, 25, 33, 42, 52, 63),
        4,
        chroma=("420",),
        depths=(10,),
        raised=True,
    ),
    Peer(
        "x264",
        "pyav",
        "libx264",
        "h264",
        {
            "preset": "veryslow",
            "tune": "psnr",
            "crf": "Q",
            "x264-params": "keyint=infinite:open-gop=0:threads=1:lookahead-threads=1",
        },
        _CRF[1:],
        4,
        chroma=("420", "422", "444", "gray"),
        depths=(8, 10),
    ),
    Peer(
        "vp9",
        "pyav",
        "libvpx-vp9",
        "vp9",
        {
            "deadline": "good",
            "cpu-used": "0",
            "crf": "Q",
            "b": "0",
            "g": "9999",
            "lag-in-frames": "25",
            "auto-alt-ref": "1",
            "row-mt": "0",
            "tile-columns": "0",
            "tune": "psnr",
        },
        (1, 5, 11, 18, 26, 35, 45, 54, 63),
        4,
        chroma=("420", "422", "444", "rgb"),
        depths=(8,),
        remark="one pass",
    ),
    Peer(
        "prores",
        "pyav",
        "prores_ks",
        "prores",
        {"profile": "hq", "flags": "+qscale", "global_quality": "Q*lambda"},
        (1, 2, 4, 7, 12, 20, 35, 60),
        3,
        chroma=("422", "444"),
        depths=(10,),
        raised=True,
        remark="intra only; made for editing",
    ),
    Peer(
        "ffv1",
        "pyav",
        "ffv1",
        "ffv1",
        {"level": "3", "coder": "1", "context": "1", "g": "9999", "slices": "4"},
        (0,),
        0,
        remark="lossless: a single rate and no BD-rate",
    ),
    Peer(
        "vvenc",
        "ffmpeg",
        "libvvenc",
        "vvc",
        {
            "preset": "medium",
            "qp": "Q",
            "qpa": "0",
            "threads": "1",
            "vvenc-params": "intraperiod=-1",
        },
        (1, 6, 11, 16, 21, 26, 31, 36, 41),
        4,
        chroma=("420",),
        depths=(10,),
        raised=True,
        stream="vvc",
    ),
    Peer(
        "libaom",
        "ffmpeg",
        "libaom-av1",
        "libdav1d",
        {
            "cpu-used": "3",
            "crf": "Q",
            "b:v": "0",
            "g": "9999",
            "lag-in-frames": "48",
            "row-mt": "0",
            "threads": "1",
            "tune": "psnr",
        },
        (1, 5, 10, 17, 25, 33, 42, 52, 63),
        4,
        chroma=("420", "422", "444"),
        depths=(10,),
        raised=True,
        stream="obu",
        remark="one pass",
    ),
)
PEERS: dict[str, Peer] = {peer.name: peer for peer in _LIST}


class NotPossible(Exception):
    """A peer cannot code a clip; the text says why, without a full stop."""


def chroma_kind(form: PixelFormat) -> str:
    """The kind of planes: "420", "422", "444", "gray" or "rgb"."""
    if form.family != "yuv":
        return form.family
    return {(1, 1): "420", (1, 0): "422", (0, 0): "444"}[form.shift_x, form.shift_y]


def coded_format(peer: Peer, form: PixelFormat) -> PixelFormat:
    """The format in which a peer codes clips of a format.

    Raises:
        NotPossible: it has none that holds the clip's samples.
    """
    kind = chroma_kind(form)
    if kind not in peer.chroma:
        if kind != "420" or "422" not in peer.chroma:
            raise NotPossible(f"{peer.encoder} does not take {form.name}")
        kind = "422"
    if peer.raised:
        if form.depth > peer.depths[0]:
            raise NotPossible(f"{peer.name} codes {peer.depths[0]} bits, not {form.depth}")
        if form.depth == peer.depths[0] and peer.encoder == "libx265":
            raise NotPossible(
                f"the clip has 10 bits: {peer.name.removesuffix('-10bit')} codes them"
            )
        depth = peer.depths[0]
    elif form.depth in peer.depths:
        depth = form.depth
    else:
        raise NotPossible(f"{peer.name} does not code {form.depth} bits")
    name = {"gray": "gray", "rgb": "gbrp"}.get(kind, f"yuv{kind}p")
    return PIXEL_FORMATS[name + ("" if depth == 8 else f"{depth}le")]
