"""Symbols that are decoded beside what is made of them."""

from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event

import pytest
import torch

from innvc.errors import CorruptError
from innvc.symbols import Symbols

FRAMES = [torch.full((1, 2, 3, 3), float(n)) for n in range(3)]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def first_values(symbols):
    return [float(values[0, 0, 0]) for values in symbols]


@pytest.mark.parametrize("beside", [False, True])
def test_values_come_in_order_and_then_the_result(beside, pool):
    def decode(give):
        for frame in FRAMES:
            give(frame)
        return "whole"

    symbols = Symbols(decode, pool if beside else None, lambda: False)
    assert first_values(symbols) == [0, 1, 2]
    assert symbols.result() == "whole"


def test_values_come_before_all_are_decoded_and_errors_where_they_are_asked_for(pool):
    seen = Event()

    def decode(give):
        give(FRAMES[0])
        assert seen.wait(60)
        raise CorruptError("It ends here.")

    symbols = Symbols(decode, pool, lambda: False)
    values = iter(symbols)
    assert next(values).shape == (2, 3, 3)
    seen.set()
    with pytest.raises(CorruptError):
        next(values)
    with pytest.raises(CorruptError):
        symbols.result()
    with pytest.raises(CorruptError):
        Symbols(decode, None, lambda: False)


def test_it_stops_at_the_next_frame(pool):
    stop, asked, given = Event(), Event(), []

    def decode(give):
        for frame in FRAMES:
            give(frame)
            given.append(frame)
            asked.set()
            assert stop.wait(60)

    symbols = Symbols(decode, pool, stop.is_set)
    assert asked.wait(60)
    stop.set()
    with pytest.raises(CancelledError):
        symbols.result()
    assert len(given) == 1
