"""Work that is done side by side."""

import os
import subprocess
import sys
from threading import Event, Timer, current_thread

import pytest
import torch

from innvc.device import ahead, one_thread, side_by_side


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_results_come_in_order_from_other_threads():
    found = side_by_side(
        lambda n: (n, current_thread().name[:5], torch.get_num_threads()), range(9)
    )
    assert found == [(n, "besid", 1) for n in range(9)]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert side_by_side(lambda n: (n, current_thread().name[:5]), range(2)) == [
        (0, "MainT"),
        (1, "MainT"),
    ]


def test_a_single_item_stays():
    assert side_by_side(lambda n: current_thread().name[:5], range(1)) == ["MainT"]


def test_one_thread_has_others_beside_it():
    def names():
        return {current_thread().name[:5], *side_by_side(lambda n: current_thread().name, "ab")}

    with one_thread(), one_thread():
        assert torch.get_num_threads() == 1
        assert "besid" in {name[:5] for name in names()}
        # What they do, they do alone.
        assert all(len(found) == 2 for found in side_by_side(lambda n: names(), range(9)))
    torch.set_num_threads(1)
    with one_thread():
        assert names() == {"MainT", "MainThread"}


def test_items_are_taken_while_results_are_asked_for():
    taken = []

    def items():
        for n in range(20):
            taken.append(n)
            yield n

    results = ahead(lambda n: n * n, items())
    assert next(results) == 0
    assert len(taken) == 3  # one is given, and two are computed
    assert list(results) == [n * n for n in range(1, 20)]


def test_an_error_leaves_out_what_has_not_begun():
    begun, go = [], Event()

    def work(n):
        begun.append(n)
        if n == 0:
            Timer(1, go.set).start()
            raise ValueError
        assert go.wait(60)

    with pytest.raises(ValueError):
        side_by_side(work, range(50))
    assert 0 in begun and len(begun) < 5


@pytest.mark.parametrize("wanted", [True, False])
def test_gradients_are_wanted_where_they_were(wanted):
    with torch.set_grad_enabled(wanted):
        assert side_by_side(lambda n: torch.is_grad_enabled(), range(3)) == [wanted] * 3


BLAS = """
import sys
import innvc
from innvc.bitstream import latent
from threadpoolctl import threadpool_info

def threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]

seen = []
frame_prior = latent.FramePrior
latent.FramePrior = lambda *a: seen.append(threads()) or frame_prior(*a)
before = threads()
innvc.decode(sys.argv[1], sys.argv[2], threads=int(sys.argv[3]))
assert seen and all(set(found) == {1} for found in seen), seen
assert set(threads()) == set(before), (threads(), before)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_symbols_are_decoded_with_one_thread_of_blas(clip, tmp_path, threads):
    """In a program that prepared nothing; and it has its threads again afterwards."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    arguments = [sys.executable, "-c", BLAS, clip[1], tmp_path / "out.yuv", str(threads)]
    subprocess.run(arguments, env=environment, check=True)
