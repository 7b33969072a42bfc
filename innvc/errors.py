"""One typed error per exit code. Every error is one sentence and, where there is one, a hint."""

from __future__ import annotations


class InnvcError(Exception):
    """Base of all errors a user can meet.

    Args:
        message: One sentence that says what is wrong.
        hint: One sentence that says what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(InnvcError):
    """An argument is missing, malformed or out of range."""

    exit_code = 2


class InputError(InnvcError):
    """The input cannot be read as video."""

    exit_code = 3


class CorruptError(InnvcError):
    """An .innv file is damaged or cut short."""

    exit_code = 4


class UnsupportedError(InnvcError):
    """The file or the input needs something that this version does not have."""

    exit_code = 5


class LimitError(InnvcError):
    """A declared size is above a limit."""

    exit_code = 6


class OutputExistsError(InnvcError):
    """The output exists and overwriting was not asked for."""

    exit_code = 7


class VerificationError(InnvcError):
    """What was decoded is not what was encoded."""

    exit_code = 8


INTERRUPTED = 130
