"""Fixtures for the tests of the command line and of the Python API."""

import os

# Before torch is imported: its threads only get into each other's way on pictures this small.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from helpers import QUICK, make_clip


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="full sets of tests/robustness: hours")


@pytest.fixture(scope="session")
def full(request):
    """Whether the full sets of tests/robustness were asked for."""
    return request.config.getoption("--full")


@pytest.fixture
def call(capfd):
    """Runs a command line in this process; gives (exit code, stdout, stderr)."""
    from innvc.cli import app
    from innvc.process import run

    def run_it(*arguments):
        capfd.readouterr()
        code = run(app, [str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run_it


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video of 20 frames and the file it was encoded to: groups of 4, keys every 8 frames."""
    import innvc as package

    folder = tmp_path_factory.mktemp("clip")
    source = make_clip(folder / "clip.mkv", count=20)
    encoded = folder / "clip.innv"
    result = package.encode(source, encoded, gop=4, keyint=8, **QUICK)
    return source, encoded, result
