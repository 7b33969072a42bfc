"""Measured points in a JSON lines file, from which an interrupted benchmark goes on."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from innvc.errors import InnvcError

Row = dict[str, Any]
# What a point is, apart from what was measured. InnVC's points also depend on its code.
KEY = ("source", "codec", "options", "library")


class PointLog:
    """The points of a folder, one JSON object a line, added as they are measured.

    Several processes may add to one file. A line that a killed process left unfinished counts as
    not measured.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[tuple[Any, ...], Row] = {}
        self._read = 0
        self._lock = threading.Lock()
        self._refresh()

    @staticmethod
    def _key(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in KEY)

    def _refresh(self) -> None:
        if not self.path.exists() or self.path.stat().st_size <= self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            lines = file.read().split(b"\n")
        self._read += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                self._rows[self._key(row)] = row

    def picture(self, row: Row) -> Path:
        """Where the picture of a point's middle frame is, if there is one."""
        name = hashlib.sha256(json.dumps(self._key(row)).encode()).hexdigest()[:16]
        return self.path.parent / "frames" / f"{name}.webp"

    def find(self, wanted: Row) -> Row | None:
        """The point with the same key, the last one that was added."""
        with self._lock:
            self._refresh()
            return self._rows.get(self._key(wanted))

    def rows(self) -> list[Row]:
        """All points, in the order in which they were first added."""
        with self._lock:
            self._refresh()
            return list(self._rows.values())

    def add(self, row: Row) -> None:
        """Adds a measured point.

        Raises:
            InnvcError: the file cannot be written.
        """
        line = json.dumps(row).encode() + b"\n"
        with self._lock:
            try:
                with self.path.open("ab+") as file:
                    if file.tell() and not self._ends_a_line():
                        line = b"\n" + line
                    file.write(line)
            except OSError as error:
                raise InnvcError(f"Cannot write '{self.path}': {error.strerror}.") from error
            self._refresh()

    def _ends_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
