"""The header of an .innv file: the HEAD chunk, and the limits on what it may declare."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from msgspec import Meta

from innvc.bitstream import budget
from innvc.bitstream.record import U31, Frames, Record
from innvc.config import ModelConfig
from innvc.errors import LimitError, UnsupportedError

# The packed channels at packing 2 (2x2 space-to-depth) of each family of pixel formats. Repeats
# names of innvc.video.formats, whose import costs numpy; a test compares the two.
_PACKED = {"gray": 4, "yuv420p": 6, "yuv422p": 8, "yuv444p": 12, "gbrp": 12}
PIX_FMTS = tuple(name + depth for depth in ("", "10le", "12le") for name in _PACKED)

U8 = Annotated[int, Meta(ge=0, le=255)]
Dimension = Annotated[int, Meta(ge=1, le=65535)]
Ratio = tuple[U31, U31]  # numerator, denominator; (0, 0) is unknown
Name = Annotated[str, Meta(max_length=64)]

MAX_LAYERS = 64


@dataclass(frozen=True)
class Limits:
    """What a file may declare before it is refused, so that a hostile one cannot exhaust memory.

    `--limit NAME=VALUE` sets one of them on the command line, with a dash in place of "_".

    Attributes:
        dimension: Samples, of width and of height.
        frame_samples: Samples of a frame, all planes together.
        frames: Of the video.
        parameters: Of the network.
        memory_bytes: To decode, a rough estimate.
        header_bytes: Of the header.
        record_bytes: Of a segment record and of the index.
        chunk_bytes: Of any chunk.
    """

    dimension: int = 65535
    frame_samples: int = 1 << 28
    frames: int = 1 << 24
    parameters: int = 1 << 28
    memory_bytes: int = 16 << 30
    header_bytes: int = 1 << 16
    record_bytes: int = 1 << 26
    chunk_bytes: int = 1 << 30

    @classmethod
    def names(cls) -> list[str]:
        """As they are written on the command line."""
        return [field.name.replace("_", "-") for field in dataclasses.fields(cls)]


def limit_error(message: str, name: str) -> LimitError:
    """A size above a limit, whose name the hint gives."""
    return LimitError(message, f"If you trust the file, raise it: --limit {name}=VALUE.")


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

    A field that is the picture has no latent.

    Raises:
        UnsupportedError: the pixel format is unknown.
    """
    channels = packed_channels(pix_fmt, model.packing)
    return channels * int(4 ** (model.stages - 1)) if model.field_role != "picture" else 0


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
        model, packed = self.model, packed_channels(self.pix_fmt, self.model.packing)
        samples = self.width * self.height * packed_channels(self.pix_fmt, 2) // 4
        size = self.width, self.height, self.frames
        sizes = {
            "width": (self.width, "dimension"),
            "height": (self.height, "dimension"),
            "samples a frame": (samples, "frame_samples"),
            "frames": (self.frames, "frames"),
            "parameters": (budget.parameter_count(model, packed), "parameters"),
            "memory in bytes": (budget.memory_bytes(model, packed, *size), "memory_bytes"),
        }
        for what, (value, name) in sizes.items():
            limit = getattr(limits, name)
            if value > limit:
                verb = "needs about" if name == "memory_bytes" else "declares"
                raise limit_error(
                    f"The file {verb} {value} {what}, above the limit of {limit}.",
                    name.replace("_", "-"),
                )


def validate_model(model: ModelConfig, channels: int) -> None:
    """Checks a model configuration against the number of latent channels it must have.

    Raises:
        ValueError: fields contradict each other or the channels; the message says how.
    """
    if model.motion and (model.packing != 2 or model.stages < 4):
        raise ValueError("motion needs packing 2 and at least 4 stages")
    if model.post_filter and (model.packing != 2 or not model.start):
        raise ValueError("a post-filter needs packing 2 and a starting point")
    if model.own_filter and not model.post_filter:
        raise ValueError("a post-filter of the segment's own needs a post-filter")
    if model.prediction and (not model.motion or model.field is not None):
        raise ValueError("prediction needs motion, and no field")
    if model.step_offsets and model.field_role == "picture":
        raise ValueError("step offsets need a latent")
    if model.dependent and model.field_role == "picture":
        raise ValueError("dependent quantisation needs a latent")
    if model.temporal_filter and (not model.motion or model.field_role == "picture"):
        raise ValueError("a temporal filter needs motion, and a latent")
    if model.mixed_flags and not model.motion:
        raise ValueError("mixed flags need motion")
    if model.prior.grid and (model.field is None or model.field_role == "picture"):
        raise ValueError("contexts from the grid need a field, and a latent")
    if sum(model.groups) != channels:
        raise ValueError(f"groups sum to {sum(model.groups)}, latent channels are {channels}")
    if sum(model.layers) != len(model.groups):
        raise ValueError(f"layers sum to {sum(model.layers)}, groups are {len(model.groups)}")
    if len(model.layers) > MAX_LAYERS:
        raise ValueError(f"{len(model.layers)} layers are more than {MAX_LAYERS}")
    if any(model.prior.intra) and (
        not all(model.prior.intra)
        or model.base != "dct"
        or model.stages < 2
        or model.field_role == "picture"
    ):
        raise ValueError("a prior of low-pass frames needs units in both networks and base dct")
    if model.prior.directions and (not any(model.prior.intra) or model.stages > 4):
        raise ValueError("directions need a prior of low-pass frames and at most 4 stages")
    if model.field_role == "picture" and (model.coupling or model.start):
        raise ValueError("a field that is the picture has neither coupling nor starting point")
    if len(model.coupling) not in (0, model.stages - 1):
        raise ValueError(
            f"{len(model.coupling)} coupling widths for {model.stages} stages (none or one less)"
        )
    field = model.field
    if field is None:
        if model.field_role != "modulation":
            raise ValueError(f"the field's role is {model.field_role} but there is no field")
    else:
        if not len(field.channels) == len(field.depths) == len(field.scales):
            raise ValueError("channels, depths and scales of the field differ in length")
        if not field.channels:
            raise ValueError("the field has no stage")
        if len(field.channels) != model.stages and (
            model.field_role != "picture" or len(field.channels) > model.stages
        ):
            raise ValueError(f"{len(field.channels)} stages of the field for {model.stages}")
        if len(field.grid_stages) not in (0, field.grid_levels):
            raise ValueError("grid stages of the field and its grid levels differ in number")
        if field.grid_stages and not {0} <= set(field.grid_stages) <= set(
            range(len(field.channels))
        ):
            raise ValueError("grid stages of the field are not its stages, the first among them")
