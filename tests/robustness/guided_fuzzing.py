"""Fuzzing guided by coverage, with atheris (the extra `fuzz`): the files of `fuzzing.py`.

    make fuzz ARGS="-seed=2"

What the fuzzer varies are the choices of what is changed, so every file has valid CRCs. Arguments
are those of libFuzzer; it ends with a traceback and the choices at the first error that is not
one of ours, or after 15,000 files: observed, the process grows by about 0.2 MB a file.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
SECONDS, MEGABYTES = 120, 6144  # of one file


class Choices(random.Random):
    """Numbers from bytes, and zeros after them."""

    def __init__(self, data):
        super().__init__(0)
        self._data, self._place = data, 0

    def getrandbits(self, bits):
        size = -(-bits // 8)
        found = self._data[self._place : self._place + size].ljust(size, b"\0")
        self._place += size
        return int.from_bytes(found, "little") & ((1 << bits) - 1)

    def random(self):
        return self.getrandbits(16) / (1 << 16)

    def randbytes(self, n):
        return random.Random(self.getrandbits(16)).randbytes(n)  # else long ones take all choices


def compiled_modules():
    """Modules with functions that Numba compiles: what observes coverage cannot be compiled."""
    root = TESTS.parent
    found = [path for path in root.glob("innvc/**/*.py") if "@compiled" in path.read_text()]
    return [".".join(path.relative_to(root).with_suffix("").parts) for path in found]


def main():
    sys.path[:0] = [str(TESTS), str(TESTS / "robustness")]
    with atheris.instrument_imports(include=["innvc"], exclude=compiled_modules()):
        import fuzzing
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = fuzzing.Bench(fuzzing.originals(folder).values(), folder / "a.innv")
        decoders = fuzzing.Decoders(-1, kept=8)
        seeds = folder / "seeds"
        seeds.mkdir()
        for number in range(64):
            (seeds / str(number)).write_bytes(random.Random(number).randbytes(48))
        defaults = [
            f"-timeout={SECONDS}",
            f"-rss_limit_mb={MEGABYTES}",
            "-max_len=256",
            "-runs=15000",
        ]
        arguments = [sys.argv[0], *defaults, *sys.argv[1:], str(seeds)]
        atheris.Setup(arguments, lambda data: bench.run(Choices(data), decoders))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
