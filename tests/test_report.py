"""The page of `innvc encode --report`: what it holds, and what a browser makes of it."""

import base64
import io
import json
import os
import re
import sys

import av
import numpy as np
import pytest
from browser import browsing, needs_browser
from helpers import DATA, QUICK_OPTIONS, innvc, make_clip, make_frames, read_frames, write_clip
from PIL import Image

from innvc import encode
from innvc.report.encode import decibels
from innvc.report.page import Section, page
from innvc.report.pictures import Painter, data_uri, spread
from innvc.report.recorder import POINTS, Curve
from innvc.video.formats import PIXEL_FORMATS, Frame, VideoInfo
from innvc.video.layouts import planes_to_frame

NASTY = "script><img src=x onerror=alert(1)>'&quot;\".mkv"  # in a folder that ends in <


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A part of a real clip, and the file and the page that the command line made of it."""
    folder = tmp_path_factory.mktemp("report")
    planes = [
        [np.ascontiguousarray(p[: 80 >> (k > 0), : 112 >> (k > 0)]) for k, p in enumerate(f.planes)]
        for f in read_frames(DATA / "bunny_cif.mkv", frames=(0, 12))
    ]
    (folder / "a<").mkdir()
    source = write_clip(folder / "a<" / NASTY, [Frame(p) for p in planes])
    output, report = folder / "out.innv", folder / "out.html"
    done = innvc("encode", source, "-o", output, "--report", report, "--gop", 4, "--steps", 6,
                 "--lambda", .05, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return source, output, report, json.loads(done.stdout)


def content(report):
    """The JSON of a page, by its sections."""
    found = re.findall(r'<script type="application/json" id="content">(.*)</script>\n',
                       report.read_text())  # fmt: skip
    assert len(found) == 1
    value = json.loads(found[0])
    return value, {section["title"]: section["blocks"] for section in value["sections"]}


def picture(address):
    data = base64.b64decode(address.removeprefix("data:image/webp;base64,"), validate=True)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_page_says_what_the_commands_say(made, call):
    source, output, report, result = made
    value, sections = content(report)
    facts = json.loads(call("info", output, "--json")[1])
    numbers = dict(sections[""][0]["items"])
    assert numbers["Size"] == f"{output.stat().st_size:,} bytes"
    assert numbers["PSNR-Y"] == f"{result['psnr_y']:.2f} dB"
    shares, choice = sections["Where the bytes went"]
    assert sum(size for _, size in shares["tables"][0]["parts"]) == output.stat().st_size
    (frames,), (groups,) = (option["blocks"] for option in choice["options"])
    packets = [packet for segment in facts["segments"] for packet in segment["packets"]]
    spent = sum(p["motion"] + p["filter"] + p["side"] + sum(p["latent_by_layer"]) for p in packets)
    for bars, count in ((frames, 12), (groups, len(packets))):
        assert len(bars["labels"]) == count
        assert sum(sum(one["values"]) for one in bars["series"]) == spent
    (quality,) = sections["Quality of each frame"]
    assert [len(one["points"]) for one in quality["series"]] == [12] * 3
    mse = np.mean([10 ** (-db / 10) for _, db in quality["series"][0]["points"]])
    assert -10 * np.log10(mse) == pytest.approx(result["psnr_y"], abs=1e-4)
    points = sections["Rate and distortion"][0]["series"]
    assert (len(points[0]["points"]), len(points[1]["points"])) == (len(packets), result["passes"])
    assert [result["bpp"], result["psnr_y"]] in [
        pytest.approx(point[:2], rel=1e-5) for point in points[1]["points"]
    ]
    fits = sections["Fit"][0]["options"]
    assert [len(o["blocks"][0]["series"][0]["points"]) for o in fits] == [result["steps"]] * 3
    told = dict(sections["This encode"][0]["items"])
    assert told["Input"] == str(source)
    assert told["Settings"] == "lambda 0.05, steps 6, gop 4"


def test_the_pictures_are_the_frames(made, call, tmp_path):
    source, output, report, _ = made
    (viewer,) = content(report)[1]["Pictures"]
    assert len(viewer["items"]) == 8
    # What is measured is exact (docs/determinism.md).
    assert call("decode", output, "-o", tmp_path / "a.mkv", "--exact")[0] == 0
    painter = Painter(VideoInfo(112, 80, PIXEL_FORMATS["yuv420p"]))
    clips = read_frames(source), read_frames(tmp_path / "a.mkv")
    for item, number in zip(viewer["items"], spread(12, 8), strict=True):
        assert item["name"].startswith(f"Frame {number},")
        for index, clip in zip(item["pictures"], clips, strict=True):
            own = painter.webp(clip[number].planes)
            assert viewer["files"][index] == data_uri(own)


def test_the_page_asks_for_nothing_and_holds_no_markup_of_others(made):
    text = made[2].read_text()
    assert set(re.findall(r"https?://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text and "unsafe" not in text
    assert text.count("</script>") == 2 and "<img" not in text and NASTY not in text
    strange = page(
        "</title><script>", "\u2028", [Section("]]>", [{"type": "text", "text": "<!--"}])]
    )
    assert (
        strange.count("<script") == 2 and strange.count("</title>") == 1 and "<!--" not in strange
    )
    assert "\u2028" not in strange


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_in_a_browser(made, scheme, call):
    _, output, report, result = made
    facts = json.loads(call("info", output, "--json")[1])
    packets = [packet for segment in facts["segments"] for packet in segment["packets"]]
    with browsing(report, color_scheme=scheme) as page:
        chart = page.locator("figure", has=page.get_by_text("PSNR of each frame"))
        assert chart.locator("circle.point").count() == 36
        assert chart.locator("path.curve").count() == 3
        chart.get_by_role("button", name="PSNR-V").click()
        assert chart.locator("circle.point").count() == 24
        chart.locator("svg").press("ArrowRight")
        assert re.fullmatch(
            r"PSNR-Y\nframe 0\nPSNR \(dB\) [\d.]+", chart.locator(".tip").inner_text()
        )
        box = chart.locator("circle.point").last.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        assert chart.locator(".tip").inner_text().startswith("PSNR-U\nframe 11\n")
        bars = page.locator("figure", has=page.get_by_text("Bytes of each frame"))
        assert bars.locator("rect.bar").count() >= 12
        bars.locator("svg").press("ArrowRight")
        bars.locator("svg").press("ArrowRight")
        own = packets[0]["latent_by_level"][1] // 2
        assert bars.locator(".tip").inner_text().split("\n")[0] == f"frame 1: {own:,} bytes"
        page.get_by_text("Groups of frames", exact=True).click()
        assert not bars.is_visible()
        groups = page.locator("figure", has=page.get_by_text("Bytes of each group"))
        groups.locator("svg").press("ArrowRight")
        assert groups.locator(".tip").inner_text().startswith("frames 0 to 3, key: ")
        points = page.locator("figure", has=page.get_by_text("Quality over rate"))
        assert points.locator("circle.point").count() == len(packets) + result["passes"]
        fit = page.locator("figure", has=page.get_by_text("Loss along the fit"))
        assert fit.locator("circle.point").count() == result["steps"]
        assert page.locator("h1").inner_text() == "out.innv" and NASTY in page.inner_text("header")
        assert page.locator("img[src=x]").count() == 0
        colour = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(colour)
        assert before == ("rgb(17, 20, 24)" if scheme == "dark" else "rgb(246, 247, 249)")
        page.locator("button.theme").click()
        assert page.evaluate(colour) != before


def drawn(page):
    """The largest sample of the difference."""
    return page.evaluate(
        "() => { const c = document.querySelector('canvas.difference');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return Math.max(...d.filter((_, i) => i % 4 < 3)) }"
    )


@needs_browser
def test_the_viewer_in_a_browser(made):
    from playwright.sync_api import expect

    report = made[2]
    (viewer,) = content(report)[1]["Pictures"]
    with browsing(report) as page:
        stage, images = page.locator(".stage"), page.locator(".stage img")
        for place in (0, 1, 2, 1):
            page.locator(f".stage[data-item='{place}']").wait_for()
            addresses = [viewer["files"][i] for i in viewer["items"][place]["pictures"]]
            assert images.evaluate_all("all => all.map(i => i.src)") == addresses
            assert (
                page.locator(".frames output")
                .inner_text()
                .startswith(viewer["items"][place]["name"])
            )
            page.get_by_role("slider", name="Frame").press(
                "ArrowLeft" if place == 2 else "ArrowRight"
            )
        page.get_by_role("slider", name="Frame").press("Home")
        page.locator(".stage[data-item='0']").wait_for()
        a, b = (picture(viewer["files"][i]) for i in viewer["items"][0]["pictures"])
        size = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
        assert size == [[112, 80]] * 2 and a.shape == (80, 112, 3)

        right = images.nth(1)
        expect(right).to_have_css("clip-path", "inset(0px 0px 0px 50%)")
        width = stage.bounding_box()["width"]
        stage.click(position={"x": width / 4, "y": 50})
        place = page.get_by_role("slider", name="Split")
        expect(place).to_have_value("25")
        expect(right).to_have_css("clip-path", re.compile(r"inset\(0px 0px 0px 2[45](\.\d+)?%\)"))
        place.press("ArrowRight")
        expect(right).to_have_css("clip-path", "inset(0px 0px 0px 26%)")

        page.get_by_role("radio", name="Difference").check(force=True)
        page.locator("canvas.difference").wait_for()
        largest = int(abs(a - b).max())
        assert 0 < largest
        told = page.locator(".told")
        expect(told).to_have_text(f"4 times; largest {largest} of 255")
        assert drawn(page) == min(255, 4 * largest)
        page.get_by_role("slider", name="Amplified").press("Home")
        expect(told).to_have_text(f"1 times; largest {largest} of 255")
        assert drawn(page) == largest
        page.get_by_role("radio", name="Decoded").check(force=True)
        expect(images.nth(0)).to_be_hidden()
        expect(right).to_be_visible()


@needs_browser
def test_equal_frames_have_no_difference(call, tmp_path):
    from playwright.sync_api import expect

    flat = [
        Frame([np.full(s, 128, "u1") for s in ((64, 64), (32, 32), (32, 32))]) for _ in range(2)
    ]
    source = write_clip(tmp_path / "flat.mkv", flat)
    report = tmp_path / "flat.html"
    code, out, err = call("encode", source, "-o", tmp_path / "a.innv", "--report", report,
                          *QUICK_OPTIONS, "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["psnr_y"] is None  # infinite
    with browsing(report) as page:
        chart = page.locator("figure", has=page.get_by_text("PSNR of each frame"))
        assert chart.locator("circle.point").count() == 0
        page.get_by_role("radio", name="Difference").check(force=True)
        page.locator("canvas.difference").wait_for()
        expect(page.locator(".told")).to_have_text("4 times; identical")
        assert drawn(page) == 0
        assert "PSNR-Y identical" in page.locator(".frames output").inner_text()


@needs_browser
def test_long_clips_and_many_points_are_thinned(tmp_path):
    count = 20000
    points = [[i, 40 + (i % 50) / 10] for i in range(count)]
    blocks = [
        {"type": "chart", "title": "Curve", "x": {"name": "frame", "whole": True},
         "y": {"name": "dB"}, "series": [{"name": "PSNR", "points": points}]},
        {"type": "bars", "title": "Bars", "x": "frame", "y": "bytes",
         "labels": [f"frame {i}" for i in range(count)],
         "series": [{"name": "all", "values": [i % 50 for i in range(count)]}]},
    ]  # fmt: skip
    path = tmp_path / "long.html"
    path.write_text(page("long", "", [Section("Long", blocks)]))
    with browsing(path) as opened:
        assert opened.locator("circle.point").count() == 0
        assert 500 < opened.locator("path.curve").get_attribute("d").count("L") < 2600
        assert 200 < opened.locator("rect.bar").count() < 600
        opened.locator("svg").last.press("ArrowRight")
        assert re.match(r"frame 0 to frame \d+, mean: ", opened.locator(".tip").last.inner_text())


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "nvrc", "--preset", "compact", "--steps", 3],
        ["--preset", "instant", "--target-psnr", 45],
    ],
)
def test_other_models_and_formats(call, tmp_path, options):
    source = make_clip(tmp_path / "a.mkv", "gray10le", 33, 21, 2)
    report = tmp_path / "a.HTML"
    line = ["encode", source, "-o", tmp_path / "a.innv", "--report", report, *options, "--json"]
    code, out, err = call(*line)
    assert code == 0, err
    sections = content(report)[1]
    assert [len(one["points"]) for one in sections["Quality of each frame"][0]["series"]] == [2]
    points = sections["Rate and distortion"][0]["series"][1]["points"]
    assert len(points) == json.loads(out)["passes"]
    assert (len(points) > 1) == ("--target-psnr" in options)
    fit = sections["Fit"][0]
    assert fit["type"] == ("choice" if "nvrc" in options else "text")


def test_segments(monkeypatch, tmp_path):
    monkeypatch.setattr("innvc.clip.SEGMENT_SAMPLES", 1)
    source = make_clip(tmp_path / "a.mkv", "gray", 16, 16, 40)
    report = tmp_path / "a.html"
    encode(source, tmp_path / "a.innv", preset="fast", steps=3, motion=False, report=report)
    sections = content(report)[1]
    fit = sections["Fit"][0]["options"][0]["blocks"][0]["series"]
    assert [(one["name"], len(one["points"])) for one in fit] == [
        ("segment 1", 3),
        ("segment 2", 3),
    ]
    options = sections["Where the bytes went"][1]["options"]
    assert [option["name"] for option in options] == ["Frames", "Groups of frames", "Segments"]
    assert options[2]["blocks"][0]["ticks"] == [0, 32]
    assert len(sections["Quality of each frame"][0]["series"][0]["points"]) == 40
    names = [item["name"].split(",")[0] for item in sections["Pictures"][0]["items"]]
    assert names[0] == "Frame 0" and names[-1] == "Frame 39" and len(names) == 8


# What is refused, and what a failure leaves


def test_reports_that_are_refused_before_the_encode(tmp_path):
    source = make_clip(tmp_path / "a.mkv", width=16, height=16, count=1)
    source = source.rename(tmp_path / "a.html")
    (tmp_path / "old.html").write_text("old")
    os.link(source, tmp_path / "link.html")
    wanted = [
        ("old.html", 7, b"exists"),
        ("page.txt", 2, b"does not end in .html"),
        ("none/page.html", 2, b"does not exist"),
        ("a.html", 2, b"same file"),
        ("link.html", 2, b"same file"),
    ]
    if sys.platform == "linux":
        wanted.append(("/proc/page.html", 1, b"Cannot write"))
    before = sorted(p.name for p in tmp_path.iterdir())
    for name, code, words in wanted:
        # A clip that cannot be encoded: the report is looked at first.
        done = innvc("encode", source, "-o", "a.innv", "--report", name, "--pix-fmt", "none",
                     cwd=tmp_path)  # fmt: skip
        assert (done.returncode, done.stdout) == (code, b""), done.stderr
        assert words in done.stderr and done.stderr.count(b"\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "old.html").read_text() == "old"


def test_the_output_itself_is_no_report(call, tmp_path):
    source = make_clip(tmp_path / "a.mkv", width=16, height=16, count=1)
    output = tmp_path / "a.innv"
    output.write_bytes(b"")
    (tmp_path / "a.html").symlink_to(output)
    line = ["encode", source, "-o", output, "--report", tmp_path / "a.html", "-y"]
    code, _, err = call(*line)
    assert code == 2 and "Report and output are the same file" in err


def test_overwrite_replaces_a_report(call, tmp_path):
    source = make_clip(tmp_path / "a.mkv", width=16, height=16, count=1)
    report = tmp_path / "a.html"
    report.write_text("old")
    line = ["encode", source, "-o", tmp_path / "a.innv", "--report", report, *QUICK_OPTIONS, "-y"]
    assert call(*line)[0] == 0
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_report_that_cannot_be_written_costs_no_video(made, tmp_path, call):
    """Files of at most 20,000 bytes: enough for the video, and too few for the page."""
    import resource

    output, report = tmp_path / "a.innv", tmp_path / "a.html"
    call("encode", made[0], "-o", tmp_path / "same.innv", *QUICK_OPTIONS)  # compiles what it needs
    done = innvc("encode", made[0], "-o", output, "--report", report, *QUICK_OPTIONS,
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)),
                 )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert "a.html' cannot be written: File too large" in last and "a.innv', whole" in last
    assert call("verify", output, "--pixels")[0] == 0
    assert output.stat().st_size < 20000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.innv", "same.innv"]


# Parts


@pytest.mark.parametrize("pix_fmt", PIXEL_FORMATS)
def test_pictures_of_all_formats(pix_fmt):
    form = PIXEL_FORMATS[pix_fmt]
    info = VideoInfo(49, 33, form, color_matrix=1, color_range=0 if form.family == "rgb" else 1)
    planes = make_frames(pix_fmt, 49, 33, 1)[0].planes
    found = picture(data_uri(Painter(info).webp(planes)))
    assert found.shape == (33, 49, 3)
    if pix_fmt == "gbrp":
        assert np.array_equal(found, np.dstack([planes[2], planes[0], planes[1]]))
        return
    frame = planes_to_frame(planes, form)
    frame.colorspace = 1
    wanted = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray().astype(int)
    assert np.mean((found - wanted) ** 2) < 30  # another way to bring chroma to full size


def test_pictures_are_turned_scaled_and_stretched():
    planes = make_frames("gray", 2000, 10, 1)[0].planes
    form = PIXEL_FORMATS["gray"]
    wide = Painter(VideoInfo(2000, 10, form))
    assert wide.scaled and wide.size == (1280, 6)
    assert picture(data_uri(wide.webp(planes))).shape == (6, 1280, 3)
    turned = Painter(VideoInfo(48, 32, PIXEL_FORMATS["gbrp"], rotation=90, sample_aspect=2))
    assert not turned.scaled and turned.size == (32, 48) and turned.aspect == 32 / 48 / 2
    planes = make_frames("gbrp", 48, 32, 1)[0].planes
    upright = np.dstack([planes[2], planes[0], planes[1]])
    found = picture(data_uri(turned.webp(planes)))
    assert np.array_equal(found, np.rot90(upright))  # counter-clockwise


def test_a_matrix_that_cannot_be_converted_does_not_end_an_encode():
    info = VideoInfo(48, 32, PIXEL_FORMATS["yuv444p"], color_matrix=14, color_range=1)
    planes = make_frames("yuv444p", 48, 32, 1)[0].planes
    assert picture(data_uri(Painter(info).webp(planes))).shape == (32, 48, 3)
    assert av.codec.Codec("libwebp", "w").name == "libwebp"


@pytest.mark.parametrize("steps", [1, 399, 400, 401, 5000, 20000])
def test_a_curve_keeps_means(steps):
    curve = Curve()
    for step in range(1, steps + 1):
        curve.add(step, 2.0 * step, -step)
    points = np.array(curve.points())
    assert 0 < len(points) <= POINTS and len(points) >= min(steps, POINTS // 2)
    assert len(points) == -(-steps // curve.run)
    assert np.allclose(points[:, 1], 2 * points[:, 0]) and np.allclose(points[:, 2], -points[:, 0])
    assert points[0, 0] == (min(curve.run, steps) + 1) / 2 and np.all(np.diff(points[:, 0]) > 0)


def test_spread_and_decibels():
    assert spread(3, 8) == [0, 1, 2]
    assert spread(100, 8) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert all(len(set(spread(n, 8))) == min(n, 8) for n in range(1, 200))
    assert [decibels(v) for v in (None, float("inf"), 41.238)] == ["-", "identical", "41.24 dB"]
