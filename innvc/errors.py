"""One typed error per exit code. Every error is one sentence and, where there is one, a hint."""

from __future__ import annotations


class InnvcError(Exception):
    """Base of all errors a user can meet.

    Args:
        message: One sentence that says what is wrong.
        hint: One sentence that says what to do about it; the kind of error has one of its own.
    """

    exit_code = 1
    usual_hint = "Check that there is space and permission to write."

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


class UsageError(InnvcError):
    """An argument is missing, malformed or out of range."""

    exit_code = 2
    usual_hint = "`innvc COMMAND --help` lists the options."


class InputError(InnvcError):
    """The input cannot be read as video."""

    exit_code = 3
    usual_hint = "Check the name; every video that FFmpeg reads will do."


class CorruptError(InnvcError):
    """An .innv file is damaged or cut short."""

    exit_code = 4
    usual_hint = "Copy or download it again, or encode the video anew."


class DamageError(CorruptError):
    """Part of an .innv file is damaged, and frames are lost with it.

    Args:
        message: What is damaged, one sentence.
        frames: Half-open ranges of the frames of the video that cannot be decoded, ascending.

    Attributes:
        frames: The same, those that touch each other as one.
        damage: The message without the frames.
    """

    usual_hint = "Copy it again, or decode the rest of it with --conceal."

    def __init__(self, message: str, frames: list[tuple[int, int]]) -> None:
        self.frames = merged(frames)
        self.damage = message
        super().__init__(f"{message.rstrip('.')}: frames {ranges_text(self.frames)} are lost.")


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open ranges in ascending order, those that overlap or touch as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1]:
            first, last = found[-1][0], max(last, found.pop()[1])
        found.append((first, last))
    return found


def ranges_text(frames: list[tuple[int, int]]) -> str:
    """Half-open ranges of frames, as in 0:4, 8:12."""
    return ", ".join(f"{first}:{last}" for first, last in frames)


class UnsupportedError(InnvcError):
    """The file or the input needs something that this version does not have."""

    exit_code = 5
    usual_hint = "A newer version of innvc may read it."


class LimitError(InnvcError):
    """A declared size is above a limit."""

    exit_code = 6
    usual_hint = "Use a smaller size or fewer frames."


class OutputExistsError(InnvcError):
    """The output exists and overwriting was not asked for."""

    exit_code = 7
    usual_hint = "Use -y to replace it."


class VerificationError(InnvcError):
    """What was decoded is not what was encoded."""

    exit_code = 8
    usual_hint = "If another machine decodes the file, this one computes wrongly."


INTERRUPTED = 130
