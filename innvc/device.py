"""Choosing where to compute."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

from innvc.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_around: ContextVar[int] = ContextVar("_around", default=1)  # threads where `one_thread` began


def select(name: str) -> torch.device:
    """The device "auto", "cpu", "cuda" or "cuda:n".

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"There is no device '{name}'.", "Give auto, cpu, cuda or cuda:n.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"Device '{name}' is not available; {torch.cuda.device_count()} GPUs are.",
            "Use --device cpu.",
        )
    return device


def limit_threads(count: int | None) -> None:
    """Bounds torch's threads; None leaves its default."""
    if count is not None:
        if count < 1:
            raise UsageError(f"Cannot run on {count} threads.", "Give a number from 1.")
        torch.set_num_threads(count)


def fast_dtype(device: torch.device) -> torch.dtype:
    """The floating-point type of the fastest products of matrices where eight bits are enough."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # older torch has none
        fast = known.get("amx_bf16", False)
    return torch.bfloat16 if fast else torch.float32


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Many small operations are faster in one thread, and so are NumPy's products of thin matrices.

    What goes `side_by_side` in it still does. BLAS belongs to the process: where another thread has
    bounded it, that stays.
    """
    threads = torch.get_num_threads()
    before = _around.set(max(threads, _around.get()))
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
        _around.reset(before)


@cache
def _beside(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: many short calls would spend their time on starting some."""
    return ThreadPoolExecutor(threads, "beside")


def side_by_side(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results of the items in their order, each computed by one of torch's threads."""
    threads, items = max(torch.get_num_threads(), _around.get()), list(items)
    if threads == 1 or len(items) == 1:
        return list(map(function, items))
    gradients = torch.is_grad_enabled()  # of this thread alone

    def of(item: T) -> R:
        torch.set_num_threads(1)  # where something goes side by side, too, it has this thread
        torch.set_grad_enabled(gradients)
        return function(item)

    try:
        return list(_beside(threads).map(of, items))
    finally:
        torch.set_num_threads(torch.get_num_threads())  # those of the others are global in part


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """As `side_by_side`, while items are taken and results are asked for."""
    threads = torch.get_num_threads()
    return map(function, items) if threads == 1 else _ahead(function, items, threads)


def _ahead(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """As many items wait, or are computed, while the first of them is asked for."""
    gradients = torch.is_grad_enabled()  # of this thread alone

    def begin() -> None:
        torch.set_num_threads(1)
        torch.set_grad_enabled(gradients)

    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, "innvc", begin)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # those of the others are global in part
