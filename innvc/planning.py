"""What an encode would take, told from a few frames of the clip; and the preset for a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from innvc.bitstream import budget
from innvc.bitstream.header import packed_channels
from innvc.clip import Clip
from innvc.encoding import EncodeJob
from innvc.output import OutputFile
from innvc.passes import Passes
from innvc.progress import EncodeProgress

SAMPLES = 1 << 20  # of plane 0 in the frames that are timed, about
FRAMES = 2, 8  # of them, at least and at most
STEPS = 6  # of their fit
FRAME_BYTES = 30  # that a sample of a frame in a segment takes in encoding
PHASES = "motion", "fit", "filter", "code", "measure"
CANDIDATES = "instant", "fast", "medium"  # presets of one transform, each slower than the last
REFINED = 5  # times as long as else details with paths to try take to code, about
LARGE, SMALL = 1 << 31, 1 << 25  # samples of plane 0: of the first above, of the last up to


@dataclass(frozen=True)
class EncodePlan:
    """What `encode` would do. Times and memory are estimates.

    Attributes:
        preset, lambda_: That would be used; the lambda of a target is where its search begins.
        width, height, pix_fmt, frames, segments: Of the clip.
        device: Of torch.
        steps: Of the fit of each segment.
        parameters: Of each segment's model.
        decode_bytes, encode_bytes: Memory; None if it cannot be told here.
        phases: Seconds of each part of a pass.
        seconds: Of a pass.
        passes: At most.
        timed_frames: Frames that were encoded for this.
    """

    preset: str
    lambda_: float
    width: int
    height: int
    pix_fmt: str
    frames: int
    segments: int
    device: str
    steps: int
    parameters: int
    decode_bytes: int
    encode_bytes: int | None
    phases: dict[str, float]
    seconds: float
    passes: int
    timed_frames: int

    def to_json(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {name.rstrip("_"): value for name, value in asdict(self).items()}


class _Stopwatch:
    """Seconds of the phases of an encode that reports here."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.steps: list[float] = []  # seconds since the fit began
        self.latent = 0.0  # bits a sample of plane 0, at the first step
        self._last = time.monotonic()

    def __call__(self, state: EncodeProgress) -> None:
        now = time.monotonic()
        self.seconds[state.phase] += now - self._last
        self._last = now
        if state.fit is not None:
            self.latent = self.latent or state.fit.latent
            self.steps.append(state.fit.elapsed)

    def step(self) -> float:
        """Seconds of a step; the first few prepare something."""
        if len(self.steps) < 2:
            return sum(self.steps)
        first = min(2, len(self.steps) - 2)
        return (self.steps[-1] - self.steps[first]) / (len(self.steps) - 1 - first)


class Timing:
    """Encodes a few frames, and tells what all would take.

    Args:
        clip: All frames.
        device, progress: As of `api.encode`.
    """

    def __init__(
        self, clip: Clip, device: str, progress: Callable[[EncodeProgress], None] | None = None
    ) -> None:
        self._progress = progress or (lambda state: None)
        self.clip, self._device = clip, device
        info = clip.info
        fewest, most = FRAMES
        count = min(most, max(fewest, SAMPLES // (info.width * info.height)), clip.count // 2)
        self.sample = clip.sample(count, count) if count else clip

    def plan(self, make: Callable[[Clip], EncodeJob], passes: int) -> EncodePlan:
        """The plan of an encode.

        Args:
            make: Makes it for given frames.
            passes: At most.
        """
        job, timed, watch = make(self.clip), make(self.sample), _Stopwatch()
        header, info = job.header, self.clip.info
        steps = min(job.settings.fit.steps, STEPS)
        fit = msgspec.structs.replace(
            timed.settings.fit,
            steps=steps,
            least_bytes=0,
            filter_steps=min(job.settings.fit.filter_steps, STEPS),
            filter_least_bytes=0,
        )
        timed.settings = replace(timed.settings, fit=fit, seconds=None)

        def told(state: EncodeProgress) -> None:
            watch(state)
            self._progress(state)

        with TemporaryDirectory() as folder, ExitStack() as stack:
            output = stack.enter_context(OutputFile(Path(folder) / "a.innv", True))
            encode = Passes(
                self.sample,
                lambda clip, lambda_: timed,
                lambda: output,
                None,
                self._device,
                told,
                lambda: False,
            )
            encode.once(timed)
        phases, least = self._all(watch, job), job.settings.fit.least_bytes
        packed = packed_channels(header.pix_fmt, header.model.packing)
        samples = info.format.frame_bytes(info.width, info.height) // info.format.dtype.itemsize
        peak = _peak_bytes()
        more = max(0, max(self.clip.lengths) - self.sample.count)
        return EncodePlan(
            preset=header.preset,
            lambda_=header.lambda_,
            width=info.width,
            height=info.height,
            pix_fmt=header.pix_fmt,
            frames=self.clip.count,
            segments=len(self.clip.lengths),
            device=str(job.device),
            steps=job.settings.fit.steps if self._above(watch, least) else 0,
            parameters=budget.parameter_count(header.model, packed),
            decode_bytes=budget.memory_bytes(
                header.model, packed, info.width, info.height, header.frames
            ),
            encode_bytes=None if peak is None else peak + more * samples * FRAME_BYTES,
            phases=phases,
            seconds=sum(phases.values()),
            passes=passes,
            timed_frames=self.sample.count,
        )

    def _all(self, watch: _Stopwatch, job: EncodeJob) -> dict[str, float]:
        """Seconds of all frames by those of the sample."""
        ratio = self.clip.count / self.sample.count
        phases = {phase: seconds * ratio for phase, seconds in watch.seconds.items()}
        # The first frame of a group has no other to look for.
        pairs = max(1, self.clip.count - 1) / max(1, self.sample.count - 1)
        phases["motion"] = watch.seconds["motion"] * pairs
        before = watch.seconds["fit"] - (watch.steps[-1] if watch.steps else 0)
        fit = job.settings.fit.steps * watch.step()
        if job.settings.seconds is not None:
            fit = min(fit, job.settings.seconds)
        settings = job.settings.fit
        phases["fit"] = max(0, before) * ratio + fit * self._above(watch, settings.least_bytes)
        longer = max(1, settings.filter_steps / STEPS)  # than in the sample
        filters = self._above(watch, settings.filter_least_bytes)
        phases["filter"] = watch.seconds["filter"] * longer * filters
        return phases

    def _above(self, watch: _Stopwatch, least_bytes: int) -> int:
        """Segments whose latent has so many bytes."""
        bits = watch.latent * self.clip.info.width * self.clip.info.height  # of a frame
        return sum(bits * n >= 8 * least_bytes for n in self.clip.lengths)


def preset_for(
    clip: Clip, seconds: float | None, device: str, make: Callable[[Clip, str], EncodeJob]
) -> str:
    """The slowest preset of which an encode ends in time.

    Args:
        seconds: Of the whole encode; None goes by the size of the clip.
        make: Makes an encode with a preset.
    """
    if seconds is None:
        samples = clip.info.width * clip.info.height * clip.count
        return CANDIDATES[0 if samples > LARGE else 1 if samples > SMALL else 2]
    began, timing = time.monotonic(), Timing(clip, device)

    def without_paths(part: Clip) -> EncodeJob:
        job = make(part, CANDIDATES[-1])
        fit = msgspec.structs.replace(job.settings.fit, paths=0)
        job.settings = replace(job.settings, fit=fit)
        return job

    plan = timing.plan(without_paths, 1)
    fits = {name: make(clip, name).settings.fit for name in CANDIDATES}
    step = plan.phases["fit"] / max(1, plan.steps)
    filter_step = plan.phases["filter"] / max(1, fits[CANDIDATES[-1]].filter_steps)
    others = plan.seconds - plan.phases["fit"] - plan.phases["filter"]
    takes = {
        name: others
        + fit.steps * step
        + fit.filter_steps * filter_step
        + (REFINED - 1) * plan.phases["code"] * (fit.paths > 0)
        for name, fit in fits.items()
    }
    seconds -= time.monotonic() - began
    within = [name for name in CANDIDATES if takes[name] <= seconds]
    return within[-1] if within else CANDIDATES[0]


def _peak_bytes() -> int | None:
    """The most memory that the process has had, None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
