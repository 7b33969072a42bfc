"""`innvc bench`: peers, the log of points, BD-rates, plots, and the command as a whole."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import jsonschema
import numpy as np
import pytest
from browser import browsing, needs_browser
from helpers import DATA, innvc, make_clip, make_frames, psnr, read_frames, write_clip
from PIL import Image

from innvc.bench import ffmpeg, plots, pyav, similarity, tables
from innvc.bench.clips import open_clips
from innvc.bench.main import Settings, variants
from innvc.bench.peers import PEERS, NotPossible
from innvc.bench.planes import from_coded, to_coded
from innvc.bench.points import PointLog
from innvc.bench.pool import Worker
from innvc.bench.report import write_between_markers
from innvc.bench.run import walk
from innvc.metrics import plane_msssim
from innvc.video.formats import Frame, pixel_format
from innvc.video.source import open_source

CLIP = DATA / "street_cif.mkv"
SCHEMA = DATA.parents[1] / "docs" / "schema" / "bench.json"
FAST = ["--codecs", "x264,ffv1,innvc", "--frames", "0:2", "--psnr", "38:46"]
OURS = ["--preset", "instant", "--lambdas", "0.05,0.5"]


def opened(path, **options):
    with open_source(path, **options) as source:
        return source.info, list(source)


# Peers


@pytest.mark.parametrize("name", [n for n, p in PEERS.items() if p.engine == "pyav"])
def test_a_peer_decodes_to_what_its_quality_promises(name):
    """A real clip of 2 frames: two points of rising rate and PSNR; lossless is lossless."""
    info, frames = opened(CLIP, frames=(0, 2))
    peer = PEERS[name]
    coarse, fine = peer.ladder[-1], peer.ladder[peer.start]
    low, high = (pyav.code(peer, info, frames, q) for q in (coarse, fine))
    assert [len(p.frames) for p in (low, high)] == [2, 2]
    if name == "ffv1":
        assert all(
            np.array_equal(a, b)
            for frame, planes in zip(frames, high.frames, strict=True)
            for a, b in zip(frame.planes, planes, strict=True)
        )
        return
    values = []
    for coded in (low, high):
        errors = [
            (f.planes[0].astype(int) - p[0]).ravel()
            for f, p in zip(frames, coded.frames, strict=True)
        ]
        values.append(10 * math.log10(255**2 / np.mean(np.concatenate(errors) ** 2.0)))
    assert 20 < values[0] < values[1] - 2 and 35 < values[1] < 60
    assert 100 < low.bytes < high.bytes < 2 * 352 * 288 * 3


@pytest.mark.skipif(ffmpeg.program() is None, reason="needs imageio-ffmpeg")
@pytest.mark.parametrize("name", [n for n, p in PEERS.items() if p.engine == "ffmpeg"])
def test_a_peer_of_the_ffmpeg_program(name, tmp_path):
    info, frames = opened(CLIP, frames=(0, 2))
    peer = PEERS[name]
    coded = ffmpeg.code(peer, info, frames, peer.ladder[-2], tmp_path)
    error = np.mean((frames[1].planes[0].astype(int) - coded.frames[1][0]) ** 2.0)
    assert 24 < 10 * math.log10(255**2 / error) < 45
    assert coded.bytes == (tmp_path / "out.bin").stat().st_size
    assert ffmpeg.vmaf(info, frames, coded.frames, tmp_path) < 99
    assert ffmpeg.vmaf(info, frames, [f.planes for f in frames], tmp_path) > 95


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p10le", "gray", "gbrp"])
def test_peers_of_other_formats_and_odd_sizes(pix_fmt, tmp_path):
    """Each peer codes a format well or says that it can't."""
    clip = make_clip(tmp_path / "a.mkv", pix_fmt, 97, 65, 2)
    info, frames = opened(clip)
    coded = set()
    for name in ("ffv1", "x264", "x265-ra", "prores", "vp9", "svt-av1", "x265-intra-10bit"):
        peer = PEERS[name]
        try:
            planes = pyav.code(peer, info, frames, peer.ladder[peer.start]).frames
        except NotPossible as error:
            assert info.format.name in str(error) or "bit" in str(error)
            continue
        coded.add(name)
        for plane in range(info.format.planes):
            got = [type(f)([p[plane]]) for f, p in zip(frames, planes, strict=True)]
            want = [type(f)([f.planes[plane]]) for f in frames]
            assert psnr(want, got, 0, info.format.peak) > 30, (name, plane)
    assert {"ffv1", "x265-ra"} <= coded
    assert ("svt-av1" in coded) == (pix_fmt == "yuv420p")
    assert ("prores" in coded) == (info.format.family == "yuv")


def test_planes_go_to_a_peer_and_back_exactly():
    source = pixel_format("yuv420p")
    for name in ("yuv420p", "yuv420p10le", "yuv422p10le"):
        coded = pixel_format(name)
        planes = make_frames("yuv420p", 33, 21, 1)[0].planes
        there = to_coded(planes, source, coded)
        assert all(p.dtype == coded.dtype for p in there)
        assert there[0].shape == (22, 34) and there[1].shape[0] == (22 >> coded.shift_y)
        back = from_coded(there, source, coded, 33, 21)
        assert all(np.array_equal(a, b) for a, b in zip(planes, back, strict=True))
    # Rounding, not truncation, and no overflow at the top.
    ten = pixel_format("yuv420p10le")
    high = [np.full((2, 2), v, "<u2") for v in (1023, 401, 402)]
    result = from_coded([high[0], high[1][:1, :1], high[2][:1, :1]], source, ten, 2, 2)
    assert [int(p.flat[0]) for p in result] == [255, 100, 101]


def test_the_peers_options_are_known_to_their_encoders():
    info, frames = opened(CLIP, frames=(0, 1))
    peer = PEERS["x264"]
    wrong = type(peer)(**{**peer.__dict__, "options": {**peer.options, "presett": "slow"}})
    with pytest.raises(RuntimeError, match="does not know presett"):
        pyav.code(wrong, info, frames, 30)


def test_repeated_parameter_sets_and_encoder_text_do_not_count():
    info, frames = opened(CLIP, frames=(0, 3))
    packets, _, _ = pyav.encode(PEERS["x265-intra"], info, frames, 30)
    kinds = [[u[0] >> 1 for u in pyav._units(bytes(p))] for p in packets]
    assert {32, 33, 34} <= set(kinds[0]) and not {32, 33, 34} & {*kinds[1], *kinds[2]}
    assert b"x264" not in b"".join(map(bytes, pyav.encode(PEERS["x264"], info, frames, 30)[0]))


def test_msssim_agrees_with_the_plain_one():
    random = np.random.default_rng(1)
    for height, width, spread in ((288, 352, 2), (181, 203, 30), (233, 177, 9)):
        a = make_frames("gray", width, height, 1)[0].planes[0]
        b = np.clip(a + random.integers(-spread, spread + 1, a.shape), 0, 255).astype("u1")
        assert similarity.plane_msssim(a, b, 255) == pytest.approx(
            plane_msssim(a, b, 255), abs=2e-6
        )
    assert similarity.plane_msssim(a[:100], b[:100], 255) is None


# Which points


def test_the_ladder_is_walked_until_the_range_is_covered():
    decibels = [60, 55, 50, 45, 40, 35, 30, 25]

    def walked(start, low, high, missing=()):
        asked = []

        def measure(index):
            asked.append(index)
            return None if index in missing else decibels[index]

        walk(len(decibels), start, low, high, measure)
        return asked

    assert walked(3, 36, 54) == [3, 4, 5, 2, 1]
    assert walked(3, 20, 99) == [3, 4, 5, 6, 7, 2, 1, 0]
    assert walked(3, 44, 46) == [3, 4, 2]
    assert walked(3, 20, 54, missing={5}) == [3, 4, 5, 2, 1]
    assert walked(3, 20, 99, missing={3}) == [3]


def test_the_log_finds_points_again_and_survives_a_torn_line(tmp_path):
    path = tmp_path / "points.jsonl"
    row = {"source": "a", "codec": "x264", "options": "crf=22", "library": "1", "bytes": 5}
    PointLog(path).add(row)
    with path.open("a") as file:
        file.write('{"source": "a", "codec": "x2')
    log = PointLog(path)
    assert log.find({**row, "bytes": None}) == row
    for key in ("source", "codec", "options", "library"):
        assert log.find({**row, key: "other"}) is None
    other = {**row, "codec": "vp9"}
    second = PointLog(path)
    second.add(other)
    assert log.find(other) == other and len(PointLog(path).rows()) == 2


def test_a_crash_costs_a_point_and_not_the_worker(tmp_path):
    worker = Worker(threads=1)
    job = {"path": str(CLIP), "first": 0, "count": 1, "codec": "ffv1", "scratch": str(tmp_path)}
    try:
        process = worker._start()
        os.kill(process.pid, signal.SIGSEGV)
        broken = worker.measure({**job, "quality": 0})
        assert broken["error"] == "the process ended with SIGSEGV"
        assert worker.measure({**job, "quality": 0})["lossless"] is True
    finally:
        worker.close()
    assert list(tmp_path.iterdir()) == []


# Tables


def curve(codec, points, clip="a"):
    rows = [{"bytes": b, "psnr_y": y, "psnr_611": y, "bpp": b / 1000} for b, y in points]
    return {(clip, codec): [{**row, "codec": codec, "lossless": False} for row in rows]}


ANCHOR = [(1000 * 2 ** (k / 2), 30 + 3 * k) for k in range(8)]  # 30 to 51 dB


def test_bd_rates_of_known_curves():
    """Curves a constant factor apart differ by it, in every range; below and above by halves."""
    curves = {
        **curve("x264", ANCHOR),
        **curve("less", [(0.8 * b, y) for b, y in ANCHOR]),
        **curve("mixed", [(b * (0.8 if y < 40 else 1.25), y) for b, y in ANCHOR]),
    }
    table = {(c.test, c.range): c for c in tables.cells(curves, ["less", "mixed"], ["x264"])
             if c.metric == "psnr_y"}  # fmt: skip
    for range_, interval in (
        ("below 40 dB", (30, 40)),
        ("above 40 dB", (40, 51)),
        ("whole", (30, 51)),
    ):
        found = table["less", range_]
        assert found.percent == pytest.approx(-20, abs=1e-6)
        assert (found.low_db, found.high_db) == interval and found.trusted
    assert -20 <= table["mixed", "below 40 dB"].percent < -17
    assert 17 < table["mixed", "above 40 dB"].percent <= 25
    assert -5 < table["mixed", "whole"].percent < 10


def test_bd_rates_without_overlap_or_points():
    curves = {
        **curve("x264", ANCHOR),
        **curve("high", [(9e4, 55), (2e5, 60)]),
        **curve("one", [(2000, 35)]),
        **curve("short", ANCHOR[4:6]),
        **curve("bump", [*ANCHOR, (5000, 36)]),
    }
    table = {(c.test, c.range): c
             for c in tables.cells(curves, ["high", "one", "short", "bump"], ["x264"])
             if c.metric == "psnr_y"}  # fmt: skip
    assert table["high", "whole"].percent is None
    assert table["one", "whole"].percent is None and table["one", "whole"].test_points == 1
    short = table["short", "above 40 dB"]
    assert short.percent == pytest.approx(0, abs=1e-6) and not short.trusted
    assert (short.low_db, short.high_db, short.test_points) == (42, 45, 2)
    assert table["bump", "whole"].percent == pytest.approx(0, abs=1e-6)


def test_means_and_the_worst_clip():
    curves = {}
    for clip, factor in (("a", 0.8), ("b", 1.1)):
        curves |= curve("x264", ANCHOR, clip)
        curves |= curve("ours", [(factor * b, y) for b, y in ANCHOR], clip)
    curves |= curve("ours", [(9e5, 70), (1e6, 71)], "c") | curve("x264", ANCHOR, "c")
    found = tables.means(tables.cells(curves, ["ours"], ["x264"]))
    whole = next(m for m in found if (m.metric, m.range) == ("psnr_611", "whole"))
    assert whole.percent == pytest.approx(-5, abs=1e-6)
    assert (whole.clips, whole.worst_clip) == (2, "b")
    assert whole.worst_percent == pytest.approx(10, abs=1e-6)


def test_the_better_of_two_curves():
    low = [(0.9 * b if y < 40 else 1.1 * b, y) for b, y in ANCHOR]
    high = [(1.1 * b if y < 40 else 0.9 * b, y) for b, y in ANCHOR]
    curves = curve("one", low) | curve("two", high) | curve("x264", ANCHOR)
    curves, tests = tables.with_envelope(curves, ["one", "two"])
    found = {c.test: c.percent for c in tables.cells(curves, tests, ["x264"])
             if (c.metric, c.range) == ("psnr_y", "whole")}  # fmt: skip
    assert found["either"] == pytest.approx(-10, abs=1e-6)
    assert found["one"] > -4 and found["two"] > -4


def check_picture(path):
    if path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
            assert picture.width > 500 and len(np.unique(np.asarray(picture))) > 20
    else:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_plots_of_more_curves_than_fit(tmp_path):
    curves = {}
    for place, name in enumerate([*(n for n in PEERS if n != "ffv1"), "innvc-fast"]):
        curves |= curve(name, [(b * (1 + place / 5), y) for b, y in ANCHOR])
    names = plots.rate_distortion("a", "a clip", curves, ["innvc-fast"], tmp_path)
    table = tables.cells(curves, ["innvc-fast"], ["x264", "x265-ra"])
    names += plots.summary(table, tables.means(table), tmp_path)
    assert names == ["rd-a.png", "rd-a.svg", "bd-rate.png", "bd-rate.svg"]
    for name in names:
        check_picture(tmp_path / name)
    text = (tmp_path / "rd-a.svg").read_text()
    assert text.count("innvc-fast") and text.count(">x265-ra<") and not text.count("10bit")


def test_a_document_is_written_between_its_markers(tmp_path):
    path = tmp_path / "results.md"
    path.write_text(
        "# Mine\n\nBefore.\n\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n\nAfter.\n"
    )
    write_between_markers(path, "new\n")
    write_between_markers(path, "newer\n")
    text = path.read_text()
    assert text.startswith("# Mine\n\nBefore.\n") and text.endswith("\n\nAfter.\n")
    assert "newer" in text and "old" not in text and "new\n\n" not in text
    path.write_text("Only mine.\n")
    write_between_markers(path, "added\n")
    assert path.read_text().startswith("Only mine.\n\n<!-- bench: begin -->\n\nadded\n")


# The command


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A part of a real clip: 2 frames of 192x176."""
    planes = [[p[: 176 >> (k > 0), : 192 >> (k > 0)] for k, p in enumerate(f.planes)]
              for f in read_frames(CLIP, frames=(0, 2))]  # fmt: skip
    frames = [Frame([np.ascontiguousarray(p) for p in picture]) for picture in planes]
    return write_clip(tmp_path_factory.mktemp("street") / "street.mkv", frames)


@pytest.fixture(scope="module")
def benched(street, tmp_path_factory):
    """A folder that `innvc bench` filled, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    document = folder / "doc.md"
    result = innvc("bench", street, *FAST, *OURS, "-o", folder / "out", "--jobs", "2", "--json",
                   "--doc", document)  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    return folder, result


def test_bench_end_to_end(benched, street):
    folder, done = benched
    out, result = folder / "out", json.loads(done.stdout)
    names = sorted(p.name for p in out.iterdir())
    pictures = ["bd-rate.png", "bd-rate.svg", "rd-street.png", "rd-street.svg"]
    files = ["points.jsonl", "results.csv", "results.json", "results.md"]
    assert names == sorted([*pictures, *files, "frames", "report.html"])
    for name in pictures:
        check_picture(out / name)
    assert json.loads((out / "results.json").read_text()) == result
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(result)
    points = result["points"]
    assert len((out / "points.jsonl").read_text().splitlines()) == len(points)
    assert len((out / "results.csv").read_text().splitlines()) == len(points) + 1
    ours = [p for p in points if p["codec"] == "innvc-instant"]
    assert [p["quality"] for p in ours] == [0.05, 0.5]
    for point in points:
        assert point["frames"] == 2 and point["source"] == open_clips([street], (0, 2))[0].source
        assert point["bpp"] == 8 * point["bytes"] / (2 * 192 * 176)
        assert point["lossless"] == (point["codec"] == "ffv1") == (point["psnr_y"] is None)
        assert 0.5 < point["msssim_y"] <= 1
    assert all(p["steps"] == 0 and p["commit"] for p in ours)
    assert all(p["parameters"] > 1000 and p["frames_per_second"] > 0 for p in ours)
    cells = {(c["metric"], c["range"]): c for c in result["bd_rates"]}
    assert len(cells) == 6 and cells["psnr_y", "whole"]["anchor"] == "x264"
    assert -60 < cells["psnr_y", "whole"]["percent"] < 100
    text = (folder / "doc.md").read_text()
    facts = ["x264 preset=veryslow tune=psnr crf=Q", "Machine:", "commit", "kMAC/pixel"]
    parts = ["street (192x176 yuv420p at", "| innvc-instant against |", "Lossless:"]
    for words in facts + parts:
        assert words in text
    assert "crf=22" not in done.stderr.decode() and "innvc-instant 0.5" in done.stderr.decode()


@needs_browser
def test_the_page_of_a_benchmark(benched):
    """All points are in its chart, and frames of x264 are beside InnVC's."""
    folder = benched[0] / "out"
    points = json.loads((folder / "results.json").read_text())["points"]
    curves = [p for p in points if p["codec"] in ("x264", "innvc-instant")]
    assert len(list((folder / "frames").iterdir())) == len(curves)
    with browsing(folder / "report.html") as page:
        charts = page.locator("figure", has=page.get_by_text("street: 2 frames of 192x176"))
        assert charts.first.locator("circle.point").count() == len(curves)
        charts.first.locator("svg").press("ArrowRight")
        ours = next(p for p in points if p["codec"] == "innvc-instant")
        told = charts.first.locator(".tip").inner_text().split("\n")
        assert told[0] == f"innvc-instant: 0.05, {ours['bytes']:,} bytes"
        assert told[2] == f"PSNR-Y (dB) {ours['psnr_y']:.2f}".rstrip("0")
        page.get_by_text("VMAF", exact=True).first.click()
        assert not charts.first.is_visible()
        assert page.locator("td", has_text="ffv1").count() == 1
        for place, row in enumerate(p for p in points if p["codec"] == "innvc-instant"):
            page.locator(f".stage[data-item='{place}']").wait_for()
            left, right = page.locator(".stage .label").all_inner_texts()
            assert left.startswith(f"innvc-instant {row['quality']:g}: {row['bpp']:.3f} bpp")
            nearest = min(
                (p for p in points if p["codec"] == "x264"),
                key=lambda p: abs(math.log(p["bytes"] / row["bytes"])),
            )
            assert right.startswith(f"x264 {nearest['quality']:g}: {nearest['bpp']:.3f} bpp")
            page.get_by_role("slider", name="Point").press("ArrowRight")
        page.get_by_role("combobox", name="Left").select_option("Original")
        page.locator(".stage .label", has_text="original").wait_for()


def test_bench_measures_the_file_that_encode_writes(benched, street, call, tmp_path):
    """The same options by hand give the same bytes and the same PSNR."""
    points = json.loads((benched[0] / "out" / "results.json").read_text())["points"]
    point = next(p for p in points if p["codec"] == "innvc-instant" and p["quality"] == 0.5)
    file, copy = tmp_path / "a.innv", tmp_path / "a.y4m"
    options = ["--lambda", "0.5", "--preset", "instant", "--threads", "1"]
    assert call("encode", street, "-o", file, *options)[0] == 0
    assert call("decode", file, "-o", copy)[0] == 0
    assert file.stat().st_size == pytest.approx(point["bytes"], rel=0.01)
    value = psnr(read_frames(street), read_frames(copy), 0, 255)
    assert value == pytest.approx(point["psnr_y"], abs=0.05)


def test_bench_goes_on_where_it_stopped(benched, street, call, tmp_path):
    """Half of the log: what it holds is kept to the bit, and only the rest is measured."""
    before = (benched[0] / "out" / "points.jsonl").read_text().splitlines(keepends=True)
    ours = [line for line in before if '"innvc-instant"' in line]
    peers = [line for line in before if line not in ours]
    kept = ours + peers[1:]
    log = tmp_path / "points.jsonl"
    log.write_text("".join(kept) + peers[0][:40])
    command = ["bench", street, *FAST, *OURS, "-o", tmp_path, "--json", "-q"]
    code, out, _ = call(*command)
    answer = json.loads(out)
    assert (code, answer["measured"], len(answer["points"])) == (0, 1, len(before))
    assert log.read_text().startswith("".join(kept))
    code, out, err = call(*command, "--no-measure")
    assert (code, json.loads(out)["points"], err) == (0, answer["points"], "")


def test_the_default_model_by_its_name_is_the_same_curve(tmp_path):
    named, unnamed = (
        variants(Settings([CLIP], tmp_path, presets=["fast"], models=models))
        for models in (["innvc", "nvrc"], [])
    )
    assert named[0].name == unnamed[0].name == "innvc-fast"
    assert named[0].arguments == unnamed[0].arguments == ("--preset", "fast")
    assert named[1].arguments == ("--preset", "fast", "--model", "nvrc")


def test_what_is_not_measured_is_said(call, tmp_path):
    code, out, _ = call("bench", CLIP, *FAST, *OURS, "-o", tmp_path, "--json", "--no-measure")
    result = json.loads(out)
    assert code == 0 and not result["points"] and not result["plots"]
    assert "street_cif, x264: not measured yet." in result["remarks"]
    assert "street_cif, innvc-instant: not measured yet at lambda 0.5." in result["remarks"]
    assert "not measured yet" in (tmp_path / "results.md").read_text()


def test_bench_keeps_what_it_has_when_interrupted(tmp_path):
    command = [sys.executable, "-m", "innvc", "bench", CLIP, "--codecs", "ffv1,x265-ra", "--frames",
               "0:16", "-o", tmp_path]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "points.jsonl"
    while not log.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    words = process.communicate(timeout=60)[1]
    assert process.returncode == 130, words
    assert words.splitlines()[-1] == "innvc: interrupted."
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows and rows[0]["codec"] == "ffv1"
    assert "Lossless:" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([CLIP, "--codecs", "h261"], 2, "no codec 'h261'"),
        ([CLIP, "--lambdas", "1,two"], 2, "not a list of numbers"),
        ([CLIP, "--lambdas", "1e9"], 2, "out of range"),
        ([CLIP, "--preset", "warp"], 2, "no preset 'warp'"),
        ([CLIP, "--psnr", "50:40"], 2, "is empty"),
        ([CLIP, "--frames", "3"], 2, "not a range of frames"),
        ([CLIP, "--jobs", "0"], 2, "0 points"),
        ([CLIP, CLIP], 2, "Two clips"),
        (["missing.mkv"], 3, "does not exist"),
        ([DATA / "README.md"], 3, "README.md"),
    ],
)
def test_bench_errors_are_one_sentence(call, tmp_path, arguments, code, words):
    found, out, err = call("bench", *arguments, "-o", tmp_path / "out")
    assert (found, out) == (code, "")
    assert words in err and err.startswith("innvc: ") and err.count("\n") == 1


def test_bench_says_that_innvc_failed(tmp_path):
    """An option that encode refuses: peers are written, the sentence and a code tell."""
    result = innvc("bench", CLIP, "--codecs", "ffv1,innvc", "--frames", "0:1", "--lambdas", "1",
                   "--preset", "instant", "--options", "--gop 33", "-o", tmp_path)  # fmt: skip
    assert result.returncode == 1
    last = result.stderr.decode().splitlines()[-1]
    assert "1 of InnVC's points failed" in last and "Groups of 33 frames" in last
    assert "ffv1" in (tmp_path / "results.csv").read_text()
    assert "Failed: street_cif at lambda 1" in (tmp_path / "results.md").read_text()
