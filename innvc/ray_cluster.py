"""Segments as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from innvc import __version__
from innvc.checkpoint import CodedSegment
from innvc.errors import InnvcError, UnsupportedError, UsageError
from innvc.progress import EncodeProgress
from innvc.segment_task import SegmentTask
from innvc.workers import LOSSES, Report, SideBySide, Stop, Waiting

CONNECT_SECONDS = 10.0  # that a cluster has to answer
SECONDS = 0.5  # from one message of a task to the next


class Ray(SideBySide, AbstractContextManager["Ray"]):
    """Tasks of a Ray cluster, on whose nodes this version of InnVC is installed.

    Args:
        address: Of the cluster, as of `ray.init`; "local" begins one on this machine.
        workers: How many segments at a time; None is as many as it has room for.
        threads: CPUs of a segment; None is 1.
        gpu: Whether each takes a GPU.

    Raises:
        UsageError: Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, address: str, workers: int | None, threads: int | None, gpu: bool) -> None:
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as error:
            raise UsageError(
                "Ray is not installed.", 'pip install "innvc[ray]" brings it.'
            ) from error
        self._ray, cpus = ray, threads or 1
        try:
            _reach(address)
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"There is no Ray cluster at '{address}'.", "Give its address, or 'local'."
            ) from error
        found = ray.cluster_resources()
        room = found.get("GPU", 0) if gpu else found.get("CPU", 0) // cpus
        if room < 1:
            ray.shutdown()
            need = "a GPU" if gpu else f"{cpus} CPUs"
            raise UsageError(f"The Ray cluster has not {need} for a segment.")
        super().__init__(workers or int(room))
        self._told, self._end = Queue(), Queue()
        self._task = ray.remote(_in_ray).options(
            num_cpus=cpus, num_gpus=int(gpu), max_retries=LOSSES - 1
        )
        self._threads, self._gpu = cpus, gpu

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def _submit(self, task: SegmentTask) -> Future[CodedSegment]:
        # Its folder is of this machine.
        task = replace(task, checkpoint=None, device="cuda" if self._gpu else "cpu")
        arguments = task, self._told, self._end, self._threads, __version__
        future: Future[Any] = self._task.remote(*arguments).future()
        return future

    def _first(self, waiting: deque[Waiting], report: Report, stop: Stop) -> CodedSegment:
        from ray.exceptions import RayError, RayTaskError

        try:
            return super()._first(waiting, report, stop)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            number = waiting[0].task.number
            raise InnvcError(
                f"Ray lost segment {number}: {str(error).splitlines()[0]}",
                "Look at the nodes of the cluster.",
            ) from error

    def _reports(self) -> Iterator[EncodeProgress]:
        yield from self._told.get_nowait_batch(self._told.qsize())

    def _stop(self) -> None:
        if self._end.empty():
            self._end.put(True)

    def _restart(self) -> None:
        """Ray does so itself."""


def _reach(address: str) -> None:
    """Ray itself takes minutes to find that nobody answers.

    Raises:
        OSError: so it is.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _in_ray(task: SegmentTask, told: Any, end: Any, threads: int, version: str) -> CodedSegment:
    from innvc.device import limit_threads

    if version != __version__:
        raise UnsupportedError(
            f"A node of the cluster has InnVC {__version__}, not {version}.",
            "Install the same version on all.",
        )
    limit_threads(threads)
    messages = _Messages(told, end)
    return task.run(messages.report, messages.stop)


class _Messages:
    """What a task and its encode tell each other, now and then: each costs a call over the net."""

    def __init__(self, told: Any, end: Any) -> None:
        self._told, self._end = told, end
        self._reported = self._asked = 0.0
        self._stopped = False

    def report(self, state: EncodeProgress) -> None:
        """Tells the encode."""
        if state.done == state.total or time.monotonic() - self._reported >= SECONDS:
            self._reported = time.monotonic()
            self._told.put(state)

    def stop(self) -> bool:
        """Whether the encode shall end."""
        if not self._stopped and time.monotonic() - self._asked >= SECONDS:
            self._asked = time.monotonic()
            self._stopped = not self._end.empty()
        return self._stopped
