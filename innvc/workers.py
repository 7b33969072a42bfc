"""Who encodes the segments: this process, others beside it, or a Ray cluster."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from innvc.checkpoint import CodedSegment
from innvc.errors import InnvcError, UsageError
from innvc.progress import EncodeProgress
from innvc.segment_task import SegmentTask

if TYPE_CHECKING:
    import torch

Report = Callable[[EncodeProgress], None]
Stop = Callable[[], bool]

MOST = 64  # workers of one machine
LOSSES = 3  # of a worker over one segment
SECONDS = 0.2  # from one look at the workers to the next


class Runner(Protocol):
    """Encodes segments."""

    def run(
        self, tasks: Iterable[SegmentTask], report: Report, stop: Stop
    ) -> Iterator[CodedSegment]:
        """The coded segments in the order of the tasks, a few of which it holds at a time."""


def check_workers(workers: int | None) -> None:
    """Refuses a number of workers that cannot be.

    Raises:
        UsageError: that.
    """
    if workers is not None and not 1 <= workers <= MOST:
        raise UsageError(f"Cannot use {workers} workers.", f"Give a number from 1 to {MOST}.")


@contextmanager
def runner(
    segments: int, workers: int | None, ray: str | None, threads: int | None, device: torch.device
) -> Iterator[Runner]:
    """Who encodes so many segments.

    Args:
        workers, ray, threads: As of `api.encode`.
    """
    if ray is not None:
        from innvc.ray_cluster import Ray

        with Ray(ray, workers, threads, device.type == "cuda") as cluster:
            yield cluster
    elif min(workers or 1, segments) > 1:
        with Processes(min(workers or 1, segments)) as processes:
            yield processes
    else:
        yield Here()


class Here:
    """One segment after the other, in this process."""

    def run(
        self, tasks: Iterable[SegmentTask], report: Report, stop: Stop
    ) -> Iterator[CodedSegment]:
        """See `Runner`."""
        for task in tasks:
            yield task.run(report, stop)


class SideBySide(ABC):
    """Several segments at a time. A lost worker's segment is encoded again.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, tasks: Iterable[SegmentTask], report: Report, stop: Stop
    ) -> Iterator[CodedSegment]:
        """See `Runner`."""

        def tell(state: EncodeProgress) -> None:
            report(replace(state, workers=self.workers))

        waiting: deque[Waiting] = deque()
        for task in tasks:
            waiting.append(Waiting(task, self._begin(task)))
            if len(waiting) > self.workers:
                yield self._first(waiting, tell, stop)
        while waiting:
            yield self._first(waiting, tell, stop)

    def _begin(self, task: SegmentTask) -> Future[CodedSegment]:
        done: Future[CodedSegment] = Future()
        if task.coded is not None:
            done.set_result(task.coded)
            return done
        try:
            return self._submit(task)
        except BrokenProcessPool as error:  # a worker was lost since
            done.set_exception(error)
            return done

    def _first(self, waiting: deque[Waiting], report: Report, stop: Stop) -> CodedSegment:
        """Waits for the first segment."""
        losses = 0
        while True:
            done, _ = wait([waiting[0].future], timeout=SECONDS)
            for state in self._reports():
                report(state)
            if stop():
                self._stop()
            if not done:
                continue
            try:
                result = waiting[0].future.result()
            except BrokenProcessPool as error:
                losses += 1
                if losses == LOSSES:
                    raise InnvcError(
                        f"Segment {waiting[0].task.number} ended its worker {losses} times.",
                        "Give fewer --workers: there may not be the memory for all.",
                    ) from error
                self._restart()
                for one in waiting:
                    if not one.future.done() or one.future.exception() is not None:
                        one.future = self._begin(one.task)
                continue
            waiting.popleft()
            return result

    @abstractmethod
    def _submit(self, task: SegmentTask) -> Future[CodedSegment]: ...

    @abstractmethod
    def _reports(self) -> Iterator[EncodeProgress]:
        """What the workers told since."""

    @abstractmethod
    def _stop(self) -> None:
        """Ends the fits."""

    @abstractmethod
    def _restart(self) -> None:
        """Begins anew where workers were lost."""


@dataclass
class Waiting:
    """A segment that is encoded, or waits for it."""

    task: SegmentTask
    future: Future[CodedSegment]


class Processes(SideBySide, AbstractContextManager["Processes"]):
    """Processes of this machine, which share its threads and GPUs.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        import torch
        from loky.backend.context import get_context

        super().__init__(workers)
        context = get_context("loky")
        self._told, self._end = context.Queue(), context.Event()
        self._threads = max(1, torch.get_num_threads() // workers)
        self._restart()

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, kill_workers=True)

    def _restart(self) -> None:
        from loky import ProcessPoolExecutor

        arguments = self._told, self._end, self._threads
        self._pool = ProcessPoolExecutor(
            self.workers, timeout=None, initializer=_begin_process, initargs=arguments
        )

    def _submit(self, task: SegmentTask) -> Future[CodedSegment]:
        import torch

        if task.device == "cuda" and torch.cuda.device_count() > 1:
            task = replace(task, device=f"cuda:{task.number % torch.cuda.device_count()}")
        found: Future[CodedSegment] = self._pool.submit(_in_process, task)
        return found

    def _reports(self) -> Iterator[EncodeProgress]:
        while not self._told.empty():
            yield self._told.get()

    def _stop(self) -> None:
        self._end.set()


_process: Any = None  # queue and event of a worker


def _begin_process(told: Any, end: Any, threads: int) -> None:
    global _process
    from innvc.process import prepare_threads

    prepare_threads()
    from innvc.device import limit_threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    limit_threads(threads)
    _process = told, end


def _in_process(task: SegmentTask) -> CodedSegment:
    told, end = _process
    return task.run(told.put, end.is_set)
