"""An .innv file that appears under its name whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from innvc.errors import InnvcError, OutputExistsError, UsageError


def check_output(target: Path, source: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuses an output that could not be put in place, before any work is done.

    Raises:
        UsageError: the name, the folder, or the source itself is in the way.
        OutputExistsError: it exists and `overwrite` is not set.
    """
    if target.suffix.lower() != ".innv":
        raise UsageError(f"The output '{target}' does not end in .innv.", "Name it like out.innv.")
    _check_place(target, source, overwrite)


def check_report(
    report: Path, output: Path, source: str | os.PathLike[str], overwrite: bool
) -> None:
    """Refuses a report beside an output, as `check_output` does.

    Raises:
        UsageError, OutputExistsError: that.
        InnvcError: the folder cannot be written to.
    """
    if report.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The report '{report}' does not end in .html.", "Name it so.")
    if same_file(report, output):
        raise UsageError("Report and output are the same file.", "Choose another report.")
    _check_place(report, source, overwrite)
    with OutputFile(report, overwrite):
        pass


def _check_place(target: Path, source: str | os.PathLike[str], overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"The folder '{target.parent}' does not exist.", "Make it first.")
    if target.is_dir():
        raise UsageError(f"The output '{target}' is a folder.", "Give a file name.")
    if same_file(source, target):
        raise UsageError("Output and input are the same file.", "Choose another output.")
    if os.path.lexists(target) and not overwrite:
        raise OutputExistsError(f"The output '{target}' exists.", "Use -y to replace it.")


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two paths name one file, by whatever links."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.abspath(a) == os.path.abspath(b)


class OutputFile:
    """A temporary file beside the target. `commit` puts it in place; without, it is removed.

    Attributes:
        path: Of the temporary file, while the context lasts.

    Raises:
        InnvcError: the folder cannot be written to.
    """

    path: Path

    def __init__(self, target: Path, overwrite: bool) -> None:
        self._target = target
        self._overwrite = overwrite

    def __enter__(self) -> OutputFile:
        folder = self._target.parent
        try:
            handle, name = tempfile.mkstemp(prefix=".innvc-", suffix=".tmp", dir=folder)
        except OSError as error:
            raise InnvcError(
                f"Cannot write to '{folder}': {error.strerror}.", "Choose another folder."
            ) from error
        os.close(handle)
        self.path = Path(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    @contextmanager
    def writing(self, again: bool = False) -> Iterator[BinaryIO]:
        """The temporary file, open; its bytes are on the disk when the context ends.

        Args:
            again: It keeps what was written before.

        Raises:
            InnvcError: it cannot be written, the disk being full for example.
        """
        try:
            with open(self.path, "r+b" if again else "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> InnvcError:
        return InnvcError(f"'{self._target}' cannot be written: {error.strerror or error}.")

    def commit(self) -> None:
        """Gives the file its name and the usual permissions."""
        if os.path.lexists(self._target) and not self._overwrite:
            raise OutputExistsError(
                f"The output '{self._target}' appeared meanwhile.", "Use -y to replace it."
            )
        mask = os.umask(0)
        os.umask(mask)
        try:
            self.path.chmod(0o666 & ~mask)
            os.replace(self.path, self._target)
        except OSError as error:
            raise self._cannot(error) from error
