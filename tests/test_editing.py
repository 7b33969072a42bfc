"""`innvc cut` and `innvc concat`: what they keep decodes to the same samples."""

import json
from fractions import Fraction

import pytest
from helpers import innvc as run
from helpers import make_clip, make_frames, same, write_clip

import innvc
from innvc.bitstream.reader import Reader
from innvc.errors import UsageError

SIZE = 48, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.innv: three key intervals of packets of 2 frames; field.innv: a model with a field."""
    folder = tmp_path_factory.mktemp("editing")
    clip = make_clip(folder / "a.mkv", "yuv420p", *SIZE, 11)
    innvc.encode(clip, folder / "a.innv", preset="instant", gop=2, keyint=4)
    innvc.encode(clip, folder / "field.innv", preset="compact", steps=1, gop=2, keyint=4)
    return folder


def decoded(path, **options):
    with innvc.open(path, **options) as video:
        return video[:]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [("0:4", (0, 4)), ("5:6", (4, 6)), ("3:9", (0, 9)), ("8:", (8, 11)), (":", (0, 11))],
)
def test_cut_frames(folder, tmp_path, call, wanted, kept):
    output = tmp_path / "b.innv"
    code, out, err = call("cut", folder / "a.innv", "-o", output, "--frames", wanted, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["first"], told["frames"]) == (kept[0], kept[1] - kept[0])
    assert told["bytes"] == output.stat().st_size
    asked = [int(end) if end else None for end in wanted.split(":")]
    assert ("only they decode alone" in err) == ((asked[0] or 0, asked[1] or 11) != kept)
    assert same(decoded(output), decoded(folder / "a.innv")[slice(*kept)])
    innvc.verify(output)


def test_what_is_whole_keeps_its_checksum(folder, tmp_path):
    innvc.cut(folder / "a.innv", tmp_path / "all.innv")
    assert (tmp_path / "all.innv").read_bytes() == (folder / "a.innv").read_bytes()
    innvc.concat([folder / "a.innv"] * 2, tmp_path / "two.innv")
    innvc.verify(tmp_path / "two.innv", pixels=True)


def test_a_field_sees_the_whole_segment(folder, tmp_path):
    assert innvc.cut(folder / "field.innv", tmp_path / "b.innv", frames=(5, 6)) == (0, 11)
    innvc.concat([folder / "field.innv"] * 2, tmp_path / "two.innv")
    assert innvc.cut(tmp_path / "two.innv", tmp_path / "c.innv", frames=(12, 13)) == (11, 22)
    assert same(decoded(tmp_path / "c.innv"), decoded(folder / "field.innv"))


def test_parts_put_together_are_the_whole(folder, tmp_path):
    parts = []
    for number, ends in enumerate([(0, 4), (4, 8), (8, 11)]):
        parts.append(tmp_path / f"{number}.innv")
        assert innvc.cut(folder / "a.innv", parts[-1], frames=ends) == ends
    result = run("concat", *parts, "-o", tmp_path / "b.innv", check=True)
    assert b"11 frames" in result.stderr
    assert same(decoded(tmp_path / "b.innv"), decoded(folder / "a.innv"))


def test_cut_layers(folder, tmp_path):
    run("cut", folder / "a.innv", "-o", tmp_path / "b.innv", "--layers", "2", check=True)
    assert (tmp_path / "b.innv").stat().st_size < (folder / "a.innv").stat().st_size
    assert same(decoded(tmp_path / "b.innv"), decoded(folder / "a.innv", layers=2))
    with pytest.raises(UsageError, match="layers"):
        innvc.cut(folder / "a.innv", tmp_path / "c.innv", layers=0)


def test_time_stamps_begin_at_zero_and_go_on(tmp_path):
    times = [100, 103, 109, 111, 120, 122]
    frames = make_frames("yuv420p", *SIZE, 6)
    frames = [frame.__class__(frame.planes, pts) for frame, pts in zip(frames, times, strict=True)]
    write_clip(tmp_path / "a.mkv", frames, "yuv420p", time_base=Fraction(1, 1000))
    options = {"preset": "instant", "gop": 1, "keyint": 2, "steps": 0}
    innvc.encode(tmp_path / "a.mkv", tmp_path / "a.innv", **options)
    with innvc.open(tmp_path / "a.innv") as video:
        assert [video.frame_at(t / 1000).pts for t in (0, 8.9, 9, 10.9, 21)] == [
            video[index].pts for index in (0, 1, 2, 2, 4)
        ]
    innvc.cut(tmp_path / "a.innv", tmp_path / "b.innv", frames=(2, 6))
    with Reader(tmp_path / "a.innv") as whole, Reader(tmp_path / "b.innv") as part:
        pts = whole.segment(0).pts
        assert pts and part.segment(0).pts == [time - pts[2] for time in pts[2:]]
    innvc.concat([tmp_path / "a.innv", tmp_path / "b.innv"], tmp_path / "c.innv")
    with Reader(tmp_path / "c.innv") as both:
        first, second = both.segment(0).pts, both.segment(1).pts
    assert first == pts and [t - second[0] for t in second] == [t - pts[2] for t in pts[2:]]
    assert second[0] - first[-1] == round((pts[-1] - pts[0]) / 5)


def test_files_that_do_not_fit_are_refused(folder, tmp_path, call):
    clip = make_clip(tmp_path / "b.mkv", "yuv444p", *SIZE, 2)
    innvc.encode(clip, tmp_path / "b.innv", preset="instant")
    command = "concat", folder / "a.innv", tmp_path / "b.innv", "-o", tmp_path / "c.innv"
    code, _, err = call(*command)
    assert code == 2 and "pix fmt differs" in err
    assert call("concat", folder / "a.innv", "-o", folder / "a.innv", "-y")[0] == 2
    assert call("cut", folder / "a.innv", "-o", tmp_path / "b.innv")[0] == 7
    command = "cut", folder / "a.innv", "-o", tmp_path / "c.innv", "--frames", "9:99"
    assert call(*command)[0] == 2
    damaged = bytearray((folder / "a.innv").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "d.innv").write_bytes(damaged)
    assert call("cut", tmp_path / "d.innv", "-o", tmp_path / "c.innv")[0] == 4
    assert not (tmp_path / "c.innv").exists()
