"""What the documents say of the command line: exit codes, JSON, and commands that run."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
from helpers import QUICK_OPTIONS, innvc, make_clip
from mutation import assemble, records

from innvc import errors
from innvc.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory):
    """Files for each exit code."""
    folder = tmp_path_factory.mktemp("codes")
    data = clip[1].read_bytes()
    (folder / "clip.innv").write_bytes(data)
    (folder / "cut.innv").write_bytes(data[:-30])
    (folder / "newer.innv").write_bytes(data[:8] + b"\x07" + data[9:])
    (folder / "there.yuv").write_bytes(b"")
    parts = records(data)
    packet = next(record for name, record in parts if name == b"PACK")
    packet[1][0] ^= 1
    (folder / "differs.innv").write_bytes(assemble(parts))
    return folder


CODES = {
    0: "info clip.innv",
    1: "decode clip.innv -o /proc/x.yuv",
    2: "decode clip.innv",
    3: "info none.innv",
    4: "verify cut.innv",
    5: "verify newer.innv",
    6: "info clip.innv --limit frames=1",
    7: "decode clip.innv -o there.yuv",
    8: "verify differs.innv",
}


@pytest.mark.parametrize("code", CODES)
def test_exit_codes(folder, code):
    if code == 1 and sys.platform != "linux":
        pytest.skip("no /proc")
    done = innvc(*CODES[code].split(), cwd=folder)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    if code:
        assert done.stdout == b"" and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(b"innvc: ") and b"internal" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_exit_code_of_an_interrupt(tmp_path):
    line = [sys.executable, "-m", "innvc", "encode", "-", "-o", tmp_path / "a.innv"]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"YUV4MPEG2 W64 H64 F25:1 C420jpeg\n" + (b"FRAME\n" + bytes(6144)) * 60)
    process.stdin.flush()  # more than a pipe holds: it reads
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"innvc: interrupted.\n"
    process.stdin.close()


def test_the_codes_are_those_of_the_readme():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    kinds = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    assert listed == {*CODES, errors.INTERRUPTED} == {0, errors.INTERRUPTED, *kinds}


@pytest.fixture(scope="module")
def schemas():
    found = {path.stem: json.loads(path.read_text()) for path in ROOT.glob("docs/schema/*.json")}
    for schema in found.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    return found


def test_json(clip, call, tmp_path, schemas):
    source, encoded, _ = clip
    still = make_clip(tmp_path / "still.mkv", "gray", 16, 16, 1)
    new = [tmp_path / name for name in ("a.innv", "b.innv", "a.yuv", "c.innv", "d.innv")]
    lines = [
        ["encode", still, "-o", new[0], *QUICK_OPTIONS],
        ["encode", still, "-o", new[1], "--preset", "compact", "--steps", 1],
        ["encode", still, "-o", new[4], "--dry-run"],
        ["cut", encoded, "-o", new[3]],
        ["concat", encoded, encoded, "-o", new[4]],
        ["decode", encoded, "-o", new[2]],
        ["info", encoded],
        ["info", new[1]],
        ["verify", encoded],
        ["compare", source, encoded],
        ["compare", still, still],
    ]
    for line in lines:
        code, out, err = call(*line, "--json")
        assert code == 0, err
        name = "plan" if "--dry-run" in line else line[0]
        validator = jsonschema.Draft202012Validator(schemas[name])
        assert [error.message for error in validator.iter_errors(json.loads(out))] == []
        wrong = json.loads(out) | {"more": 1}
        assert list(validator.iter_errors(wrong))
    # test_bench.py has its own
    assert {*(line[0] for line in lines), "plan", "bench"} == set(schemas)


def commands():
    """Command lines of indented and fenced blocks of README.md and docs/*.md."""
    found = []
    for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))):
        fenced = False
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                if line.split()[:1] == ["innvc"]:
                    found.append((path.name, line.partition(" # ")[0].strip()))
    return found


# Commands that are only parsed, and why.
PARSED = {
    "innvc bench": "needs clips and FFmpeg's encoders, and takes minutes to days",
}


def arguments(line):
    return shlex.split(line.replace("CLIP...", "in.mp4").replace("FOLDER", "folder"))[1:]


def test_commands_are_found():
    assert len([line for name, line in commands() if name == "README.md"]) == 7
    assert len(commands()) >= 11


@pytest.mark.parametrize("name, line", commands(), ids=[" ".join(c) for c in commands()])
def test_commands_parse(name, line):
    """Each option is one that there is."""
    found = arguments(line)
    command = typer.main.get_command(app).commands[found[0]]
    assert command.make_context(found[0], found[1:]).params
    with pytest.raises(typer.BadParameter.__base__):
        command.make_context(found[0], [*found[1:], "--no-such-option"])


def test_commands_run(call, tmp_path, monkeypatch):
    """In their order, on a small clip of the name that they use."""
    monkeypatch.chdir(tmp_path)
    make_clip("in.mp4", width=16, height=16, count=2)
    ran = 0
    for _, line in commands():
        if any(line.startswith(start) for start in PARSED):
            continue
        code, _, err = call(*arguments(line))
        assert code == 0, (line, err)
        ran += 1
    assert ran >= 5 and (tmp_path / "rec.y4m").stat().st_size > 2 * 16 * 16
