"""Worker processes: as many points side by side as there are workers."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

Row = dict[str, Any]


class PoolClosed(Exception):
    """The pool was closed while a point was measured."""


class Worker:
    """One worker process, started when there is something to do, and again after it died."""

    def __init__(self, threads: int) -> None:
        self._threads = str(threads)
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def _start(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise PoolClosed
            if self._process is None or self._process.poll() is not None:
                limits = {"OMP_NUM_THREADS": self._threads, "MKL_NUM_THREADS": self._threads}
                quiet = {"OMP_WAIT_POLICY": "PASSIVE", "SVT_LOG": "1"}
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "innvc.bench.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env={**os.environ, **limits, **quiet},
                    # A Ctrl-C of the terminal is for us: it would end a fit early.
                    start_new_session=True,
                )
            return self._process

    def measure(self, job: Row) -> Row:
        """A row of results; a crash of the process is an error like others.

        Raises:
            PoolClosed: the pool was closed meanwhile.
        """
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if line:
            result: Row = json.loads(line)
            return result
        if self._closed:
            raise PoolClosed
        code = process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"error": f"the process ended with {how}", "possible": True}

    def close(self) -> None:
        """Ends the process and all that it started."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is None:
            return
        try:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()


class Pool:
    """Workers, each of which measures one point at a time."""

    def __init__(self, jobs: int, threads: int) -> None:
        self._workers = [Worker(threads) for _ in range(jobs)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def measure(self, job: Row) -> Row:
        """Waits for a free worker, and for its result (see Worker.measure)."""
        worker = self._free.get()
        try:
            return worker.measure(job)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Ends all workers at once."""
        for worker in self._workers:
            worker.close()
