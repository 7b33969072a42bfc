"""Metrics against values known by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from innvc.errors import UsageError
from innvc.metrics import (
    QualityMeter,
    bd_rate,
    plane_mse,
    plane_msssim,
    squared_error,
    to_json_value,
)
from innvc.video.formats import PIXEL_FORMATS


def planes(name: str, width: int, height: int, values: list[int]) -> list[np.ndarray]:
    facts = PIXEL_FORMATS[name]
    return [
        np.full(facts.plane_size(p, width, height), values[p], facts.dtype)
        for p in range(facts.planes)
    ]


def test_error_is_exact_and_does_not_wrap():
    low = np.zeros((2, 3), np.uint8)
    high = np.full((2, 3), 255, np.uint8)
    assert plane_mse(low, high) == plane_mse(high, low) == 255**2
    deep = np.full((3000, 1000), 4095, "<u2")
    assert squared_error(deep, np.zeros_like(deep)) == 3_000_000 * 4095**2
    with pytest.raises(ValueError):
        plane_mse(low, high[:1])
    with pytest.raises(ValueError):
        plane_mse(low, high.astype(float))


def test_psnr_is_of_the_error_over_all_frames():
    meter = QualityMeter(PIXEL_FORMATS["yuv420p"])
    reference = planes("yuv420p", 5, 3, [100, 100, 100])
    meter.update(reference, planes("yuv420p", 5, 3, [101, 100, 110]))
    meter.update(reference, planes("yuv420p", 5, 3, [103, 102, 90]))
    result = meter.result()
    assert result.frames == 2
    assert result.psnr_y == pytest.approx(10 * math.log10(255**2 / 5))
    assert result.psnr_u == pytest.approx(10 * math.log10(255**2 / 2))
    assert result.psnr_v == pytest.approx(10 * math.log10(255**2 / 100))
    expected = (6 * result.psnr_y + result.psnr_u + result.psnr_v) / 8
    assert result.psnr_611 == pytest.approx(expected)
    assert result.msssim_y is None


def test_peak_follows_the_depth():
    meter = QualityMeter(PIXEL_FORMATS["gray12le"])
    meter.update(planes("gray12le", 4, 4, [7]), planes("gray12le", 4, 4, [8]))
    result = meter.result()
    assert result.psnr_y == result.psnr_611 == pytest.approx(20 * math.log10(4095))
    assert result.psnr_u is None and result.psnr_v is None


def test_rgb_planes_weigh_the_same():
    meter = QualityMeter(PIXEL_FORMATS["gbrp"])
    meter.update(planes("gbrp", 4, 4, [9, 9, 9]), planes("gbrp", 4, 4, [10, 11, 13]))
    result = meter.result()
    expected = np.mean([20 * math.log10(255 / d) for d in (1, 2, 4)])
    assert result.psnr_611 == pytest.approx(expected)


def test_identical_planes():
    meter = QualityMeter(PIXEL_FORMATS["yuv444p10le"])
    reference = planes("yuv444p10le", 4, 4, [9, 512, 512])
    meter.update(reference, reference)
    assert meter.result().psnr_y == meter.result().psnr_611 == math.inf
    meter.update(reference, planes("yuv444p10le", 4, 4, [10, 512, 512]))
    result = meter.result()
    assert result.psnr_u == math.inf
    assert result.psnr_611 == result.psnr_y == pytest.approx(10 * math.log10(1023**2 * 2))


def test_misuse():
    meter = QualityMeter(PIXEL_FORMATS["yuv420p"])
    with pytest.raises(ValueError):
        meter.result()
    with pytest.raises(ValueError):
        meter.update(planes("gray", 4, 4, [0]), planes("gray", 4, 4, [0]))


def test_json_values():
    assert [to_json_value(v) for v in (1.5, math.inf, math.nan, None)] == [1.5, None, None, None]


def test_msssim():
    source = np.random.default_rng(0)
    reference = source.integers(0, 256, (176, 180), np.uint8)
    noisy = np.clip(reference + source.integers(-20, 21, reference.shape), 0, 255).astype("u1")
    value = plane_msssim(reference, noisy, 255)
    assert 0.9 < value < 0.9999
    # Scaling samples and peak alike changes nothing.
    scaled = [(plane.astype("<u2") * 257) for plane in (reference, noisy)]
    assert plane_msssim(*scaled, 65535) == pytest.approx(value, abs=1e-12)
    assert plane_msssim(reference[:160], noisy[:160], 255) is None

    meter = QualityMeter(PIXEL_FORMATS["gray"], msssim=True)
    meter.update([reference], [reference])
    assert meter.result().msssim_y == pytest.approx(1, abs=1e-12)
    meter.update([reference], [noisy])
    assert meter.result().msssim_y == pytest.approx((1 + value) / 2)

    small = QualityMeter(PIXEL_FORMATS["gray"], msssim=True)
    small.update([reference[:160]], [noisy[:160]])
    small.update([reference[:160]], [noisy[:160]])
    assert small.result().msssim_y is None


ANCHOR = [(100.0 * 2**i, 30.0 + 5 * i) for i in range(5)]


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_bd_rate_of_a_scaled_curve(method):
    pytest.importorskip("bjontegaard")
    half = [(rate / 2, quality) for rate, quality in reversed(ANCHOR)]
    result = bd_rate(ANCHOR, half, method=method)
    assert result.percent == pytest.approx(-50)
    assert (result.low_db, result.high_db) == (30, 50)
    assert bd_rate(half, ANCHOR, method=method).percent == pytest.approx(100)


def test_bd_rate_agrees_with_the_library():
    library = pytest.importorskip("bjontegaard")
    test = [(90, 31), (210, 36), (390, 42), (1500, 52)]
    expected = library.bd_rate(
        *zip(*ANCHOR, strict=True), *zip(*test, strict=True),
        method="akima", require_matching_points=False,
    )  # fmt: skip
    result = bd_rate(ANCHOR, test, method="akima")
    assert result.percent == pytest.approx(expected)
    assert (result.low_db, result.high_db) == (31, 50)


def test_bd_rate_within_bounds():
    pytest.importorskip("bjontegaard")
    anchor = [(100.0 * 1.2**i, 30.0 + i) for i in range(21)]
    # Equal up to 40 dB, twice the rate above.
    test = [(rate * (2 if quality > 40 else 1), quality) for rate, quality in anchor]
    assert bd_rate(anchor, test, high=38).percent == pytest.approx(0, abs=1e-9)
    result = bd_rate(anchor, test, low=43.5, high=99)
    assert result.percent == pytest.approx(100)
    assert (result.low_db, result.high_db) == (43.5, 50)
    assert bd_rate(anchor, test, low=50).percent is None
    lossless = [*ANCHOR, (1e6, math.inf)]
    assert bd_rate(ANCHOR, lossless).percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("points", [[(1, 30)], [(0, 30), (1, 31)], [(1, 30), (2, 30)]])
def test_bd_rate_refuses_bad_curves(points):
    pytest.importorskip("bjontegaard")
    with pytest.raises(UsageError):
        bd_rate(ANCHOR, points)


def test_import_needs_neither_torch_nor_bjontegaard():
    code = (
        "import sys, innvc.metrics; "
        "print([m for m in ('torch', 'bjontegaard', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
