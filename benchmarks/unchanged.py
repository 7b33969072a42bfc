"""Compares files and decoded samples with those of an earlier version.

    python benchmarks/unchanged.py FOLDER

Where FOLDER lacks a file it is encoded, decoded, and kept with the SHA-256 of what it decodes to.
Otherwise the kept file is decoded, and the clip is encoded again: the samples must be the same, and
it is told whether the new file is. There is a file for every pixel format, preset and part of the
method.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from innvc.video.formats import PIXEL_FORMATS

CLIP = Path(__file__).parent.parent / "tests/data/street_cif.mkv"
SHORT = "--frames 0:2 --lambda .3 --preset"
CASES = {
    **{name: f"{SHORT} instant --pix-fmt {name}" for name in PIXEL_FORMATS},
    "low": "--frames 0:6 --lambda .02 --preset instant",
    "high": "--frames 0:5 --lambda 8 --preset instant",
    "packets": "--frames 0:6 --lambda .1 --preset instant --gop 2 --keyint 4",
    "fast": f"{SHORT} fast",
    "medium": f"{SHORT} medium --steps 5",
    "compact": f"{SHORT} compact --steps 4",
    "slow": f"{SHORT} slow --steps 2",
    "paper": "--frames 0:1 --lambda .3 --preset paper --steps 2",
    "nvrc": f"{SHORT} fast --model nvrc --steps 5",
    "residual": f"{SHORT} compact --steps 2 --residual --grid-context",
    "analytic": f"{SHORT} instant --start 0",
    "identity": f"{SHORT} compact --steps 2 --base identity",
    **{
        part: f"{SHORT} instant --no-{part}"
        for part in ("context", "intra", "directions", "motion", "dependent", "filter")
    },
}


def run(*arguments: str) -> None:
    command = [sys.executable, "-m", "innvc", *arguments, "--threads", "1", "--quiet"]
    subprocess.run(command, check=True)


def samples_of(file: Path, exact: bool) -> str:
    """SHA-256 of what a file decodes to."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.yuv"
        options = ["--exact"] if exact else []
        run("decode", str(file), "-o", str(target), "--device", "cpu", *options)
        return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    differ = 0
    for name, options in CASES.items():
        kept, sums = folder / f"{name}.innv", folder / f"{name}.sha256"
        new = kept if not sums.exists() else folder / f"{name}.new.innv"
        encode = ["encode", str(CLIP), "-o", str(new), "--overwrite", "--device", "cpu"]
        run(*encode, *options.split())
        found = " ".join(samples_of(kept, exact) for exact in (False, True))
        if new == kept:
            sums.write_text(found)
            print(f"{name}: kept", flush=True)
            continue
        same = found == sums.read_text()
        differ += not same
        equal = new.read_bytes() == kept.read_bytes()
        print(
            f"{name}: samples {'the same' if same else 'DIFFER'},",
            "file the same" if equal else "file another",
            flush=True,
        )
    if differ:
        sys.exit(f"{differ} files decode to other samples.")


if __name__ == "__main__":
    main()
