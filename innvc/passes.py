"""Encodes until a target is reached: a sample of the clip first, then all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from innvc.bitstream.streams import StreamsRecord
from innvc.bitstream.writer import Writer
from innvc.checkpoint import Checkpoint
from innvc.clip import Clip
from innvc.encoding import EncodeJob, measure
from innvc.metrics import Quality
from innvc.output import OutputFile
from innvc.progress import EncodeProgress
from innvc.target import Search, Target
from innvc.workers import Here, Runner

if TYPE_CHECKING:
    from innvc.encoder import Decisions
    from innvc.report.recorder import PassRecord, Recorder

SAMPLE_FRAMES, SAMPLE_SHARE = 16, 4  # at most so many, and one in so many
SAMPLE_RUN = 8  # frames one after the other
SAMPLE_STEPS = 100  # of its fit, at most
SAMPLE_TRIES, TRIES = 4, 5
MOTION_RATIO = 1.5  # of lambdas up to which motion is used again

Report = Callable[[EncodeProgress], None]


@dataclass(frozen=True)
class Pass:
    """A file that was written and decoded again.

    Attributes:
        output: The file, not yet under its name.
        steps, fit_seconds: Of the fit, which is the first pass's.
        decided: For each segment.
        record: What a report shows of it.
    """

    job: EncodeJob
    output: OutputFile
    bytes: int
    quality: Quality
    steps: int
    fit_seconds: float
    decided: Sequence[Decisions]
    record: PassRecord | None = None


class Passes:
    """Encodes a clip, as often as a target asks for.

    Args:
        clip: To encode.
        make: Makes the encodes.
        output: Makes files for them.
        streams: Audio and subtitles, which the files hold, too.
        device: To measure on.
        report, stop: As of `api.encode`.
        runner: Encodes the segments of the clip, not of a sample.
        recorder: Keeps what a report shows.
    """

    def __init__(
        self,
        clip: Clip,
        make: Callable[[Clip, float], EncodeJob],
        output: Callable[[], OutputFile],
        streams: StreamsRecord | None,
        device: str,
        report: Report,
        stop: Callable[[], bool],
        runner: Runner | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._streams = streams
        self._clip = clip
        self._make = make
        self._output = output
        self._device = device
        self._report = report
        self._stop = stop
        self._runner = runner or Here()

    def once(
        self,
        job: EncodeJob,
        checkpoint: Checkpoint | None = None,
        known: Sequence[Decisions] | None = None,
        output: OutputFile | None = None,
    ) -> Pass:
        """Encodes, decodes and measures.

        Args:
            known: Of each segment, in place of a fit.
            output: Where to write, in place of a new one.
        """
        output = output or self._output()
        record = None
        if self._recorder is not None and job.clip is self._clip:
            record = self._recorder.begin_pass(job.header.lambda_)
        with output.writing() as file:
            writer = Writer(file)
            whole = job.clip is self._clip
            steps, found = job.write(
                writer,
                self._report,
                self._stop,
                self._runner if whole else Here(),
                checkpoint,
                known,
                self._streams if whole else None,
            )
        quality, samples = measure(output.path, job.clip, self._device, self._report, record)
        with output.writing(again=True) as file:
            writer.write_samples_crc(samples, file)
        size = writer.total_bytes
        if record is not None:
            record.bytes, record.psnr_y = size, quality.psnr_y
        return Pass(job, output, size, quality, steps, job.fit_seconds, found, record)

    def search(
        self, target: Target, checkpoint: Checkpoint, note: Callable[[str], None]
    ) -> tuple[Pass, int]:
        """The pass that came nearest to a target, and how many there were."""
        start, slope = target.guess, target.slope
        count = min(SAMPLE_FRAMES, self._clip.count // SAMPLE_SHARE)
        if count:
            sample = self._clip.sample(count, SAMPLE_RUN)
            fixed = len(self._streams.data) if self._streams is not None else 0
            part = target.of_part(count / self._clip.count, fixed)
            start, slope = self._of_sample(sample, part)
        search, passes = Search(target, start, slope, TRIES), list[Pass]()
        while (lambda_ := search.lambda_()) is not None and not (passes and self._stop()):
            note(f"pass {len(passes) + 1}: lambda {lambda_:.4g} for {target}")
            job = self._make(self._clip, lambda_)
            if passes:
                passes.append(self.once(job, known=self._known(passes, lambda_)))
            else:
                passes.append(self.once(job, checkpoint))
            search.add(lambda_, target.value(passes[-1].bytes, passes[-1].quality))
        if not search.reached:
            note(f"{target} could not be reached; this is the nearest")
        first, best = passes[0], passes[search.best]
        return replace(best, steps=first.steps, fit_seconds=first.fit_seconds), len(passes)

    @staticmethod
    def _known(passes: Sequence[Pass], lambda_: float) -> list[Decisions]:
        """What earlier passes decided: the fit, and motion that suits the lambda."""
        nearest = min(passes, key=lambda p: abs(math.log(p.job.header.lambda_ / lambda_)))
        near = abs(math.log(nearest.job.header.lambda_ / lambda_)) < math.log(MOTION_RATIO)
        return [d if near else replace(d, motion=None) for d in nearest.decided]

    def _of_sample(self, sample: Clip, target: Target) -> tuple[float, float]:
        """log10 lambda that suits a sample, and how fast the target's value grows there."""
        search = Search(target, target.guess, target.slope, SAMPLE_TRIES)
        with TemporaryDirectory() as folder, ExitStack() as stack:
            while (lambda_ := search.lambda_()) is not None and not self._stop():
                job = self._make(sample, lambda_)
                fit = job.settings.fit
                fit = msgspec.structs.replace(fit, steps=min(fit.steps, SAMPLE_STEPS))
                job.settings = replace(job.settings, fit=fit, seconds=None)
                output = stack.enter_context(OutputFile(Path(folder) / "sample.innv", True))
                made = self.once(job, output=output)
                search.add(lambda_, target.value(made.bytes, made.quality))
        return search.next, search.slope
