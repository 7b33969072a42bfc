"""Parts of files and files one after the other, without coding anything again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from innvc.bitstream.cut import cut_file, join_files
from innvc.bitstream.header import Limits
from innvc.bitstream.reader import Reader
from innvc.errors import UsageError
from innvc.output import OutputFile, check_output
from innvc.reader import frame_range

Note = Callable[[str], None]
NO_AUDIO = "audio and subtitles are left out"


def cut(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    frames: tuple[int | None, int | None] | None = None,
    layers: int | None = None,
    overwrite: bool = False,
    limits: Limits | None = None,
    note: Note = lambda text: None,
) -> tuple[int, int]:
    """Copies some frames or layers of an .innv file to another.

    Args:
        source: The .innv file.
        output: The new one; it appears whole or not at all.
        frames: Half-open range; the copy begins at the last key packet before it and ends with a
            packet, or has whole segments where the model has a field.
        layers: First layers that are kept.
        overwrite: Replace an existing output.
        limits: What the file may declare; None is the defaults.
        note: Called with remarks.

    Returns:
        The range of frames that the copy has.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    path = Path(output)
    with Reader(source, limits) as reader:
        most = len(reader.header.model.layers)
        if layers is not None and not 1 <= layers <= most:
            raise UsageError(f"Cannot keep {layers} layers of {most}.", f"Choose 1 to {most}.")
        wanted = frame_range(frames, reader.header.frames)
        check_output(path, source, overwrite)
        with OutputFile(path, overwrite) as target:
            with target.writing() as file:
                kept = cut_file(reader, file, layers, wanted)
            target.commit()
        if kept != wanted:
            note(f"frames {kept[0]}:{kept[1]} are kept: only they decode alone")
        if reader.streams_bytes and kept != (0, reader.header.frames):
            note(NO_AUDIO)
    return kept


def concat(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    limits: Limits | None = None,
    note: Note = lambda text: None,
) -> int:
    """Copies .innv files of one size, format and model one after the other into one.

    Args:
        sources: The .innv files, in their order.
        output: The new one; it appears whole or not at all.
        overwrite: Replace an existing output.
        limits: What the files may declare; None is the defaults.
        note: Called with remarks.

    Returns:
        The number of its frames.

    Raises:
        InnvcError: with a sentence, a hint and an exit code.
    """
    if not sources:
        raise UsageError("There is no file to begin with.")
    path = Path(output)
    for source in sources:
        check_output(path, source, overwrite)
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(source, limits)) for source in sources]
        target = stack.enter_context(OutputFile(path, overwrite))
        with target.writing() as file:
            count = join_files(readers, file)
        target.commit()
        if any(reader.streams_bytes for reader in readers):
            note(NO_AUDIO)
    return count
