"""Checking a file: every CRC, every symbol, and the samples."""

from __future__ import annotations

import os
from collections.abc import Callable

from innvc.bitstream.header import Limits
from innvc.errors import DamageError, UnsupportedError, VerificationError
from innvc.reader import VideoReader
from innvc.samples import SamplesCrc


def verify(
    source: str | os.PathLike[str],
    *,
    pixels: bool = False,
    device: str = "cpu",
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> int:
    """Checks every CRC and decodes every symbol of a file.

    Args:
        source: The .innv file.
        pixels: Decode all frames too, in float64: the samples must be those that the encoder saw.
        device: Of the frames; symbols are decoded on the CPU.
        limits: What the file may declare; None is the defaults.
        progress: Called with steps done and steps in all.
        note: Called with remarks for the user.

    Returns:
        The number of packets.

    Raises:
        DamageError: something is damaged; names all frames that are lost.
        CorruptError: so much of it that no frame can be found, or audio and subtitles are damaged.
        VerificationError: symbols or samples differ from the encoder's.
        UnsupportedError: the file has no checksums of its samples, as after a cut.
    """
    errors: list[DamageError] = []
    done = 0
    with VideoReader(source, device="cpu", limits=limits) as video:
        sizes = [len(entry.packet_offsets) for entry in video.segments]
        for segment, count in enumerate(sizes):
            for packet in range(count):
                try:
                    video.check_symbols(segment, packet)
                except DamageError as error:
                    errors.append(error)
                done += 1
                if progress is not None:
                    progress(done, sum(sizes))
        for text in video.notes:
            if note is not None:
                note(text)
        if not errors:
            video.streams()
    if errors:
        raise DamageError(errors[0].damage, [run for error in errors for run in error.frames])
    if pixels:
        _verify_pixels(source, device, limits, progress)
    return done


def _verify_pixels(
    source: str | os.PathLike[str],
    device: str,
    limits: Limits | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    with VideoReader(source, device=device, exact=True, limits=limits) as video:
        expected = [entry.samples_crc for entry in video.segments]
        if None in expected:
            raise UnsupportedError(
                "The file has no checksums of its samples.", "Leave out --pixels."
            )
        samples = SamplesCrc(video.segments)
        for done, frame in enumerate(video, 1):
            samples.add(frame)
            if progress is not None:
                progress(done, len(video))
    for entry, found in zip(video.segments, samples.values, strict=True):
        if entry.samples_crc != found:
            last = entry.first_frame + entry.frames - 1
            raise VerificationError(
                f"Samples of frames {entry.first_frame} to {last} are not those of the encoder."
            )
