"""Memory layouts: between decoded PyAV frames and the planes of a native format.

A foreign layout holds exactly the samples of a native format in another order. It is rearranged
in numpy, never through swscale, so that no sample can change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from innvc.video.formats import PIXEL_FORMATS, PixelFormat, pixel_format

_Rearrange = Callable[[av.VideoFrame, PixelFormat], list[np.ndarray]]


@dataclass(frozen=True)
class Layout:
    """How the samples of a native format lie in a decoded frame."""

    format: PixelFormat
    rearrange: _Rearrange
    full_range: bool = False  # the layout's name itself says full range


def rows(plane: av.video.plane.VideoPlane, height: int, dtype: str) -> np.ndarray:
    """A [height, line] view of a plane's memory, padding included."""
    data = np.frombuffer(memoryview(plane), dtype)
    return data.reshape(-1, plane.line_size // data.itemsize)[:height]


def _sizes(frame: av.VideoFrame, form: PixelFormat) -> list[tuple[int, int]]:
    return [form.plane_size(p, frame.width, frame.height) for p in range(form.planes)]


def _planar(byte_order: str = "<") -> _Rearrange:
    def rearrange(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
        dtype = "u1" if form.depth == 8 else byte_order + "u2"
        return [
            rows(plane, h, dtype)[:, :w]
            for plane, (h, w) in zip(frame.planes, _sizes(frame, form), strict=True)
        ]

    return rearrange


def _semi_planar(first: int, drop_bits: int = 0) -> _Rearrange:
    """Y plane and one plane of interleaved chroma; `first` is where U stands in a pair."""

    def rearrange(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
        dtype = "u1" if form.depth == 8 else "<u2"
        (h, w), (ch, cw), _ = _sizes(frame, form)
        luma = rows(frame.planes[0], h, dtype)[:, :w]
        pairs = rows(frame.planes[1], ch, dtype)[:, : 2 * cw]
        planes = [luma, pairs[:, first::2], pairs[:, 1 - first :: 2]]
        return [p >> drop_bits for p in planes] if drop_bits else planes

    return rearrange


def _packed_422(y: int, u: int, v: int) -> _Rearrange:
    def rearrange(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
        (h, w), (_, cw), _ = _sizes(frame, form)
        data = rows(frame.planes[0], h, "u1")
        return [
            data[:, y : y + 2 * w : 2],
            data[:, u : u + 4 * cw : 4][:, :cw],
            data[:, v : v + 4 * cw : 4][:, :cw],
        ]

    return rearrange


def _packed_rgb(order: str) -> _Rearrange:
    """Bytes in the order of the letters, such as 'bgr0'."""
    step = len(order)

    def rearrange(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
        data = rows(frame.planes[0], frame.height, "u1")[:, : frame.width * step]
        return [data[:, order.index(channel) :: step] for channel in "gbr"]

    return rearrange


def _packed_rgb10(green: int, blue: int, red: int) -> _Rearrange:
    """Three 10-bit fields in a 32-bit word, at the given shifts."""

    def rearrange(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
        words = rows(frame.planes[0], frame.height, "<u4")[:, : frame.width]
        return [(words >> shift) & 1023 for shift in (green, blue, red)]

    return rearrange


def _layouts() -> dict[str, Layout]:
    table = {name: Layout(form, _planar()) for name, form in PIXEL_FORMATS.items()}
    for name, form in PIXEL_FORMATS.items():
        if form.depth > 8:
            table[name.removesuffix("le") + "be"] = Layout(form, _planar(">"))
    for sub in ("420", "422", "444"):
        table[f"yuvj{sub}p"] = Layout(pixel_format(f"yuv{sub}p"), _planar(), full_range=True)
    for name, native, first, drop_bits in (
        ("nv12", "yuv420p", 0, 0),
        ("nv21", "yuv420p", 1, 0),
        ("nv16", "yuv422p", 0, 0),
        ("nv24", "yuv444p", 0, 0),
        ("nv42", "yuv444p", 1, 0),
        ("p010le", "yuv420p10le", 0, 6),
        ("p210le", "yuv422p10le", 0, 6),
        ("p410le", "yuv444p10le", 0, 6),
        ("p012le", "yuv420p12le", 0, 4),
        ("p212le", "yuv422p12le", 0, 4),
        ("p412le", "yuv444p12le", 0, 4),
    ):
        table[name] = Layout(pixel_format(native), _semi_planar(first, drop_bits))
    for name, offsets in (("yuyv422", (0, 1, 3)), ("uyvy422", (1, 0, 2)), ("yvyu422", (0, 3, 1))):
        table[name] = Layout(pixel_format("yuv422p"), _packed_422(*offsets))
    for name in ("rgb24", "bgr24", "0rgb", "0bgr", "rgb0", "bgr0"):
        order = name.removesuffix("24")
        table[name] = Layout(pixel_format("gbrp"), _packed_rgb(order))
    table["x2rgb10le"] = Layout(pixel_format("gbrp10le"), _packed_rgb10(10, 0, 20))
    table["x2bgr10le"] = Layout(pixel_format("gbrp10le"), _packed_rgb10(10, 20, 0))
    return table


LAYOUTS: dict[str, Layout] = _layouts()


# 16-bit layouts, as (family, byte order, order of channels); image files have them.
_WIDE = {
    "gray16le": ("gray", "<", ""),
    "gray16be": ("gray", ">", ""),
    "rgb48le": ("rgb", "<", "rgb"),
    "rgb48be": ("rgb", ">", "rgb"),
}


def shifts_from_16_bits(layout: str, form: PixelFormat) -> bool:
    """Whether narrow_planes() takes frames of a layout to a native format."""
    return form.depth > 8 and layout in _WIDE and _WIDE[layout][0] == form.family


def narrow_planes(frame: av.VideoFrame, form: PixelFormat) -> list[np.ndarray]:
    """Drops the low bits of 16-bit samples, which undoes a shift to the left exactly."""
    _, byte_order, order = _WIDE[frame.format.name]
    step = len(order) or 1
    data = rows(frame.planes[0], frame.height, byte_order + "u2")[:, : frame.width * step]
    parts = [data[:, order.index(channel) :: step] for channel in "gbr"] if order else [data]
    return [np.ascontiguousarray(p >> (16 - form.depth), dtype=form.dtype) for p in parts]


def frame_to_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copies the samples of a frame in one of LAYOUTS.

    Returns:
        One contiguous [height, width] array of the native format's dtype for each plane.
    """
    layout = LAYOUTS[frame.format.name]
    planes = layout.rearrange(frame, layout.format)
    return [np.array(p, dtype=layout.format.dtype, order="C") for p in planes]


def planes_to_frame(
    planes: list[np.ndarray], form: PixelFormat, *, layout: str = ""
) -> av.VideoFrame:
    """Makes a PyAV frame of native planes.

    Args:
        planes: one [height, width] array for each plane of `form`.
        form: the planes' native format.
        layout: the memory layout wanted: the native one, or 'bgr0' or 'rgb24' for 8-bit RGB.
    """
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, layout or form.name)
    if layout in ("bgr0", "rgb24"):
        step = 4 if layout == "bgr0" else 3
        packed = rows(frame.planes[0], height, "u1")
        packed[:] = 0
        for channel, plane in zip("gbr", planes, strict=True):
            packed[:, layout.index(channel) : width * step : step] = plane
        return frame
    for target, plane in zip(frame.planes, planes, strict=True):
        rows(target, plane.shape[0], form.dtype.str)[:, : plane.shape[1]] = plane
    return frame
