"""What an encode was asked for: checked, and its clip opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from innvc.clip import Clip, refuse_innv
from innvc.comparison import Selection
from innvc.encoding import EncodeJob, check_settings
from innvc.errors import UsageError
from innvc.switches import AS_PRESET, Switches
from innvc.target import Target, lambda_of, target_of
from innvc.video.formats import AS_TAGGED, ColorTags
from innvc.video.source import open_source

AUTO = "auto"  # stands for a preset that suits the clip


@dataclass(frozen=True)
class EncodeRequest:
    """Arguments of `api.encode` that decide what the file holds."""

    source: str
    lambda_: float | None = None
    quality: float | None = None
    target_psnr: float | None = None
    target_bytes: int | None = None
    bitrate: float | None = None
    preset: str = "fast"
    steps: int | None = None
    seconds: float | None = None
    gop: int | None = None
    keyint: int = 256
    segment: int | None = None
    seed: int = 0
    switches: Switches = AS_PRESET
    device: str = "auto"
    threads: int | None = None
    workers: int = 1
    size: tuple[int, int] | None = None
    pix_fmt: str | None = None
    fps: Fraction | None = None
    frames: Selection | None = None
    color: ColorTags = AS_TAGGED

    def check(self) -> None:
        """Refuses what can be refused before the clip is opened.

        Raises:
            UsageError, UnsupportedError: that.
        """
        check_settings(
            self.first_lambda(),
            self.steps,
            self.seconds,
            self.gop,
            self.keyint,
            self.seed,
            self.segment,
        )
        self.switches.check()
        targets = self.target_psnr, self.target_bytes, self.bitrate
        if self.switches.model == "nvrc":
            if self.gop is not None:
                raise UsageError(
                    "The model nvrc has no groups of frames.", "Leave out --gop or --model."
                )
            if targets != (None, None, None):
                raise UsageError(
                    "The model nvrc cannot aim at a size or a PSNR.", "Give --lambda or --quality."
                )

    def first_lambda(self) -> float:
        """The lambda that is given, or with which a search begins."""
        targets = self.lambda_, self.quality, self.target_psnr, self.target_bytes, self.bitrate
        if sum(value is not None for value in targets) > 1:
            raise UsageError(
                "More than one says how good the video shall be.",
                "Give one of --lambda, --quality, --target-psnr, --target-size and --bitrate.",
            )
        if self.quality is not None:
            return lambda_of(self.quality)
        return 1.0 if self.lambda_ is None else self.lambda_

    @contextmanager
    def open(self, remark: Callable[[str], None]) -> Iterator[OpenRequest]:
        """Opens the clip and chooses the preset.

        Args:
            remark: Is told of what is lost or chosen.

        Raises:
            InnvcError: the input cannot be read, or not be encoded so.
        """
        refuse_innv(self.source)
        with open_source(
            self.source,
            size=self.size,
            pix_fmt=self.pix_fmt,
            fps=self.fps,
            frames=self.frames,
            color=self.color,
        ) as video:
            # These take seconds to import: what was wrong before is told at once.
            from innvc.device import limit_threads, select
            from innvc.presets import PRESETS

            if self.preset not in (*PRESETS, AUTO):
                choices = ", ".join([*PRESETS, AUTO])
                raise UsageError(
                    f"There is no preset '{self.preset}'.", f"Choose one of {choices}."
                )
            where = select(self.device)
            limit_threads(self.threads)
            for note in video.notes:
                remark(note)
            clip = Clip(video, self.source == "-", self.segment)
            target = target_of(
                clip.info, clip.count, self.target_psnr, self.target_bytes, self.bitrate
            )

            def with_preset(clip: Clip, preset: str, lambda_: float) -> EncodeJob:
                seconds = self.seconds
                if seconds is not None:
                    seconds *= min(self.workers, len(clip.lengths))  # of all workers
                return EncodeJob(
                    clip,
                    lambda_,
                    preset,
                    self.steps,
                    seconds,
                    self.gop,
                    self.keyint,
                    self.seed,
                    where,
                    self.switches,
                )

            preset, lambda_ = self.preset, self.first_lambda()
            if preset == AUTO:
                from innvc.planning import preset_for

                preset = preset_for(
                    clip, self.seconds, self.device, lambda c, p: with_preset(c, p, lambda_)
                )
                remark(f"preset {preset}")
            yield OpenRequest(clip, target, lambda c, value: with_preset(c, preset, value), lambda_)
            for note in video.notes:
                remark(note)


@dataclass(frozen=True)
class OpenRequest:
    """A request whose clip is open.

    Attributes:
        clip: All frames.
        target: That is aimed at, if any.
        make: Makes an encode of a clip with a lambda.
        lambda_: To begin with.
    """

    clip: Clip
    target: Target | None
    make: Callable[[Clip, float], EncodeJob]
    lambda_: float
