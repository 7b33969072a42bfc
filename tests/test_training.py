"""The scripts that make a starting point: samples of a clip, and a short training on them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import make_clip
from test_format_document import dct_channels

from innvc.model import starting_points

FOLDER = Path(__file__).parents[1] / "training"


@pytest.mark.slow
def test_a_starting_point_is_made(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import make_decoded
    import make_samples
    import train_filter
    import train_intra
    import train_start

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        module.main()

    clip = make_clip(tmp_path / "in.mkv", "yuv420p", 64, 48, 2)
    run(make_samples, clip, "--frames", 2, "--runs", 1, "-o", tmp_path / "samples")
    (sample,) = (tmp_path / "samples").iterdir()
    with np.load(sample) as arrays:
        assert arrays["lambda_"] == 0.05
        frames = sum(len(arrays[n]) for n in arrays.files if n != "lambda_")
        assert frames == 2 and arrays["0"].shape[1] == 384
    options = ["--minutes", 0.05, "--crop", 4, "--rate", 3]
    run(train_start, tmp_path / "samples", *options, "-o", tmp_path / "start.npz")
    values, frequencies, _ = starting_points.load(starting_points.NEWEST)
    shipped = {n: v for n, v in values.items() if n.startswith("prior.")}
    with np.load(tmp_path / "start.npz") as found:
        assert sorted(found.files) == sorted(shipped)
        moved = [n for n in shipped if not np.array_equal(found[n], shipped[n] * 1024)]
        assert len(moved) == len(shipped)
        # What a channel predicts in a mirrored picture is mirrored.
        reach = found["prior.reach"].astype(int)
    options = [
        "--means-minutes",
        0.03,
        "--minutes",
        0.05,
        "--side",
        4,
        "--prior",
        tmp_path / "start.npz",
    ]
    run(train_intra, tmp_path / "samples", clip, *options, "-o", tmp_path / "both.npz")
    with np.load(tmp_path / "both.npz") as both, np.load(tmp_path / "start.npz") as found:
        priors = [n for n in values if not n.startswith("filter.")]
        assert sorted(both.files) == sorted(priors)
        assert all(np.array_equal(both[n], found[n]) for n in found.files)
        assert all(both[n].any() for n in both.files)
    clip = make_clip(tmp_path / "larger.mkv", "yuv420p", 128, 112, 2)
    run(make_decoded, clip, "--runs", 1, "-o", tmp_path / "decoded")
    options = ["--minutes", 0.05, "--start", tmp_path / "both.npz"]
    run(train_filter, tmp_path / "decoded", *options, "-o", tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as whole, np.load(tmp_path / "both.npz") as both:
        assert sorted(whole.files) == sorted(values)
        assert all(np.array_equal(both[n], whole[n]) for n in both.files)
        assert all(whole[n].any() for n in whole.files)
    channels = dct_channels("yuv", 1)
    for d, (_, v, h) in enumerate(channels):
        for c, (_, v_of, h_of) in enumerate(channels[: reach.shape[2]]):
            above, below, left, right = reach[:, d, c]
            sign_v, sign_h = (-1) ** (v + v_of), (-1) ** (h + h_of)
            assert abs(above - sign_v * below) <= 1 and abs(left - sign_h * right) <= 1
            assert sign_h > 0 or above == 0
            assert sign_v > 0 or left == 0
