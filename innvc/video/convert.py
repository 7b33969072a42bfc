"""Conversion between pixel formats by swscale, with explicit matrix and range."""

from __future__ import annotations

from dataclasses import replace

import av
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from innvc.errors import UnsupportedError
from innvc.video.formats import PixelFormat, VideoInfo

_FLAGS = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
_LIMITED, _FULL = 1, 2
_MATRIX_RGB, _MATRIX_UNSPECIFIED, _MATRIX_BT601 = 0, 2, 6
# H.273 matrix -> what swscale calls it. Other matrices are beyond it.
_COLORSPACES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


def source_family(name: str) -> str:
    """'gray', 'yuv' or 'rgb' of any format that ffmpeg names."""
    form = av.VideoFormat(name)
    if form.is_rgb or form.has_palette:
        return "rgb"
    colour = [c for c in form.components if not c.is_alpha]
    return "gray" if len(colour) == 1 else "yuv"


class Converter:
    """Converts frames of one format to another.

    Between YUV and RGB the matrix is the one of the tags; where they name none it is BT.601,
    which is then tagged, and the notes say so.

    Attributes:
        info: what is known of the frames that come out.
        notes: one-line remarks.

    Args:
        source: ffmpeg's name of the format of the frames that go in; may be one not coded natively.
        info: what is known of the frames that go in; its format is not looked at.
        target: the format wanted.

    Raises:
        UnsupportedError: the frames' matrix is one that swscale does not have.
    """

    def __init__(self, source: str, info: VideoInfo, target: PixelFormat) -> None:
        self._target = target
        self._reformatter = VideoReformatter()
        family = source_family(source)
        self.notes = [f"pixels are converted from {source} to {target.name}"]
        if any(component.is_alpha for component in av.VideoFormat(source).components):
            self.notes.append("the alpha channel is dropped")

        self._source_range = _FULL if family == "rgb" else info.color_range or _LIMITED
        self._target_range = self._source_range
        matrix = info.color_matrix
        range_ = info.color_range
        location = info.chroma_location if target.shift_x else 0
        crosses = "rgb" in (family, target.family) and family != target.family
        if crosses:
            if matrix in (_MATRIX_RGB, _MATRIX_UNSPECIFIED):
                matrix = _MATRIX_BT601
                self.notes.append("no colour matrix is tagged, so the conversion takes BT.601")
            elif matrix not in _COLORSPACES:
                raise UnsupportedError(
                    f"Colour matrix {matrix} (H.273) cannot be converted.",
                    "Leave out --pix-fmt to keep the samples as they are.",
                )
            range_ = self._target_range = _FULL if target.family == "rgb" else _LIMITED
        self._matrix = _COLORSPACES.get(matrix, Colorspace.ITU601)
        if crosses and target.family == "rgb":
            matrix = _MATRIX_RGB
        self.info = replace(
            info,
            format=target,
            color_range=range_,
            color_matrix=matrix,
            chroma_location=location,
        )

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A new frame in the target format, of the same size and time."""
        return self._reformatter.reformat(
            frame,
            format=self._target.name,
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            interpolation=_FLAGS,
            src_color_range=self._source_range,
            dst_color_range=self._target_range,
            threads=1,
        )
