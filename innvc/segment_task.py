"""The encode of one segment as a task, which may travel to another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from innvc.bitstream.header import HeaderRecord
from innvc.checkpoint import CodedSegment, SegmentCheckpoint
from innvc.progress import EncodeProgress
from innvc.video.formats import Frame

if TYPE_CHECKING:
    from innvc.encoder import Decisions, EncodeSettings
    from innvc.fit.loop import Progress


@dataclass(frozen=True)
class SegmentTask:
    """One segment, to be fitted and coded.

    Attributes:
        number, segments: Which segment of how many.
        first: Index of its first frame.
        device: Of torch.
        known: What an earlier encode decided, in place of a fit.
        checkpoint: Of the fit.
        coded: What an earlier encode left; nothing is to do then.
    """

    number: int
    segments: int
    first: int
    frames: list[Frame]
    header: HeaderRecord
    settings: EncodeSettings
    device: str
    known: Decisions | None = None
    checkpoint: SegmentCheckpoint | None = None
    coded: CodedSegment | None = None

    def run(
        self, report: Callable[[EncodeProgress], None], stop: Callable[[], bool]
    ) -> CodedSegment:
        """Fits and codes.

        Args:
            report: Called after every step and frame.
            stop: Asked before every step; True ends the fit.
        """
        import torch

        from innvc.encoder import SegmentEncoder
        from innvc.picture_encoder import PictureEncoder

        if self.coded is not None:
            return self.coded
        steps, seconds = 0, 0.0

        def fitted(state: Progress) -> None:
            nonlocal steps, seconds
            steps, seconds = state.step, state.elapsed
            planned = self.settings.fit.steps
            report(EncodeProgress("fit", steps, planned, self.number, self.segments, state))

        def told(phase: str, done: int, total: int) -> None:
            report(EncodeProgress(phase, done, total, self.number, self.segments))

        picture = self.header.model.field_role == "picture"
        kind = PictureEncoder if picture else SegmentEncoder
        device = torch.device(self.device)
        encoder = kind(
            self.header, self.frames, self.first, self.settings, device, self.known, told
        )
        if self.known is None:
            record = encoder.fit(fitted, stop, self.checkpoint)
        else:
            record = self.known.parameters
        packets = list(encoder.packets(record))
        key = self.checkpoint.key if self.checkpoint else ""
        return CodedSegment(key, steps, seconds, encoder.segment, record, packets)
