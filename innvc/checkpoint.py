"""What an unfinished encode has so far, in a folder beside its output: safetensors and records."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innvc.bitstream.record import Record, decode_record, encode_record
from innvc.bitstream.segment import PacketRecord, ParameterRecord, SegmentRecord
from innvc.errors import CorruptError, InnvcError, OutputExistsError, UsageError
from innvc.video.formats import Frame

if TYPE_CHECKING:
    from torch import Tensor

    from innvc.fit.state import FitState

SECONDS = 60.0  # from one save to the next
DIGEST = 32  # bytes of SHA-256 before a coded segment


class CodedSegment(Record, frozen=True):
    """A segment that is fitted and coded."""

    key: str
    steps: int  # of its fit
    seconds: float  # of its fit
    segment: SegmentRecord
    parameters: ParameterRecord
    packets: list[PacketRecord]


class Checkpoint:
    """The checkpoint of an encode: coded segments, and the state of the fits of the next ones.

    Each is bound to a hash of the segment's samples and of all that decides how it is coded. The
    folder is made by the first save, and files in it are replaced whole.

    Args:
        output: Of the encode. The folder has its name and `.checkpoint`.
        seconds: Least time from one save to the next.
        resume: Go on from what is there; without, it is in the way.
        overwrite: Remove it then.

    Raises:
        OutputExistsError: it is there, and neither is set.
    """

    def __init__(self, output: Path, seconds: float, resume: bool, overwrite: bool) -> None:
        self.folder = output.with_name(output.name + ".checkpoint")
        self._seconds = seconds
        self._saved = time.monotonic()
        self._resume = resume
        if resume or not self.folder.exists():
            return
        if not overwrite:
            raise OutputExistsError(
                f"There is a checkpoint of an unfinished encode, '{self.folder}'.",
                "--resume goes on from it, -y begins anew.",
            )
        self.remove()

    @property
    def found(self) -> bool:
        """Whether there is something to go on from."""
        return self._resume and self.folder.is_dir()

    def segment(self, number: int, settings: bytes, frames: Iterable[Frame]) -> SegmentCheckpoint:
        """The checkpoint of a segment.

        Args:
            number: Of the segment.
            settings: All that decides how it is coded, beside its frames.
        """
        digest = hashlib.sha256(settings)
        for frame in frames:
            digest.update(repr(frame.pts).encode())
            for plane in frame.planes:
                digest.update(plane.tobytes())
        return SegmentCheckpoint(
            self.folder, number, digest.hexdigest(), self._seconds, self._resume
        )

    def keep(self, number: int, coded: CodedSegment) -> None:
        """Saves a coded segment, when it is time or others were."""
        if time.monotonic() - self._saved >= self._seconds or self.folder.exists():
            payload = encode_record(coded)
            content = hashlib.sha256(payload).digest() + payload
            _replace(_segment_path(self.folder, number), content)
            _fit_path(self.folder, number).unlink(missing_ok=True)
            self._saved = time.monotonic()

    def remove(self) -> None:
        """Removes all of it, when the encode is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


class SegmentCheckpoint:
    """What there is of one segment.

    Args:
        folder: Of the checkpoint.
        number: Of the segment.
        key: Hash that it is bound to.
        seconds: Least time from one save to the next.
        resume: Go on from what is there.
    """

    def __init__(self, folder: Path, number: int, key: str, seconds: float, resume: bool) -> None:
        self.folder = folder
        self.key = key
        self._number = number
        self._seconds = seconds
        self._resume = resume
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._seconds

    def coded(self) -> CodedSegment | None:
        """The segment, if it was coded before.

        Raises:
            UsageError: what was coded is another one.
            CorruptError: it cannot be read.
        """
        path = _segment_path(self.folder, self._number)
        if not (self._resume and path.exists()):
            return None
        try:
            content = path.read_bytes()
            digest, payload = content[:DIGEST], content[DIGEST:]
            if hashlib.sha256(payload).digest() != digest:
                raise _damaged(path)
            record = decode_record(payload, CodedSegment, "checkpoint's")
        except OSError as error:
            raise _damaged(path) from error
        self._check(record.key)
        return record

    def load(self) -> FitState | None:
        """The state that a fit of the segment left, or None.

        Raises:
            UsageError: it is of another segment or other settings.
            CorruptError: it cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        from innvc.fit.state import FitState

        path = _fit_path(self.folder, self._number)
        if not (self._resume and path.exists()):
            return None
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            key, numbers, digest = (facts[name] for name in ("key", "numbers", "digest"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path) from error
        if _digest(tensors, numbers) != digest:
            raise _damaged(path)
        self._check(key)
        return FitState(tensors, numbers)

    def save(self, state: FitState) -> None:
        """Saves the state of the segment's fit."""
        from safetensors.torch import save

        tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
        digest = _digest(tensors, state.numbers)
        facts = {"key": self.key, "numbers": state.numbers, "digest": digest}
        _replace(_fit_path(self.folder, self._number), save(tensors, {"state": json.dumps(facts)}))
        self._saved = time.monotonic()

    def _check(self, key: str) -> None:
        if key != self.key:
            raise UsageError(
                f"The checkpoint '{self.folder}' is of another input or of other settings.",
                "Give those that it was begun with, or begin anew with -y and without --resume.",
            )


def _segment_path(folder: Path, number: int) -> Path:
    return folder / f"segment{number}.msgpack"


def _fit_path(folder: Path, number: int) -> Path:
    return folder / f"fit{number}.safetensors"


def _replace(path: Path, content: bytes) -> None:
    """Replaces a file as a whole."""
    new = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with open(new, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise InnvcError(f"Cannot write the checkpoint '{path}': {error.strerror}.") from error


def _damaged(path: Path) -> CorruptError:
    return CorruptError(
        f"The checkpoint '{path}' is damaged.", "Begin anew with -y and without --resume."
    )


def _digest(tensors: dict[str, Tensor], numbers: dict[str, Any]) -> str:
    """SHA-256 of the state of a fit."""
    found = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()
