"""Where an encode is, as its caller is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innvc.fit.loop import Progress


@dataclass(frozen=True)
class EncodeProgress:
    """Where an encode is.

    Attributes:
        phase: "motion" (how frames are grouped and predicted), "fit", "filter" (the post-filter's
            fit) and "code" of one segment; "measure" (quality and checksums of the samples) of all.
        done, total: Frames, in a fit steps.
        segment, segments: Which segment of how many.
        fit: State of the fit after a step.
        workers: Segments that are encoded side by side.
    """

    phase: str
    done: int
    total: int
    segment: int
    segments: int
    fit: Progress | None = None
    workers: int = 1
