"""Whatever ends a command, the target is the old file or the whole new one."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import QUICK_OPTIONS, innvc, make_clip, read_frames, same

import innvc as package

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")

OLD = b"the old file"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Work long enough to be killed amid it: (source, file, frames)."""
    folder = tmp_path_factory.mktemp("work")
    source, encoded = make_clip(folder / "a.mkv", count=12), folder / "a.innv"
    package.encode(source, encoded, gop=1, preset="instant", steps=2)
    with package.open(encoded) as reader:
        return source, encoded, list(reader)


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_kill(work, call, tmp_path, command, full):
    source, encoded, frames = work
    target = tmp_path / ("a.innv" if command == "encode" else "a.mkv")
    given = [source, *QUICK_OPTIONS, "--gop", 1] if command == "encode" else [encoded]
    line = [command, *given, "-o", target, "-y", "-q"]

    def is_new():
        if command == "encode":
            return target.read_bytes() == encoded.read_bytes()
        return same(read_frames(target), frames)

    began = time.monotonic()
    assert not full or innvc(*line).returncode == 0
    whole = time.monotonic() - began
    moments, ends = random.Random(3), []
    for _ in range(50 if full else 2):
        target.write_bytes(OLD)
        before = os.listdir(tmp_path)
        process = subprocess.Popen([sys.executable, "-m", "innvc", *map(str, line)])
        # Full: any moment, from before the work begins to after its end. Quick: amid it.
        while not full and os.listdir(tmp_path) == before and process.poll() is None:
            time.sleep(0.002)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 1.05) * whole if full else moments.uniform(0, 0.3))
        process.kill()
        code = process.wait()
        new = target.read_bytes() != OLD
        assert is_new() if new else code == -signal.SIGKILL, code
        assert all(name.startswith(".") for name in os.listdir(tmp_path) if name != target.name)
        ends.append((code, new))
    left = os.listdir(tmp_path)
    killed, replaced = sum(code < 0 for code, _ in ends), sum(new for _, new in ends)
    print(f"{command}: {killed} killed, {replaced} new, {len(left) - 1} temporary files left")


@pytest.fixture
def limit():
    """Lets no file that this process writes grow beyond some bytes, as a full disk does."""
    import resource

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


def failed(result, reason="File too large"):
    code, out, err = result
    said = [line for line in err.splitlines() if not line.startswith("note: ")]
    return code == 1 and out == "" and len(said) == 1 and reason in err and "internal" not in err


@pytest.mark.parametrize("name", ["a.innv", "a.yuv", "a.y4m", "a.mkv", "a.mp4", "a%02d.png"])
def test_full_disk(clip, call, tmp_path, limit, full, name):
    """Full after any number of bytes, the last ones too: one sentence, the old file as it was."""
    source, encoded, _ = clip
    given = [source, *QUICK_OPTIONS] if name == "a.innv" else [encoded]
    line = ["encode" if name == "a.innv" else "decode", *given, "-o", tmp_path / name, "-q", "-y"]
    line += ["--frames", "0:4" if name in ("a.innv", "a%02d.png") else "0:20"]
    line += ["--pix-fmt", "gbrp"] if name.endswith(".png") else []
    assert call(*line)[0] == 0
    # The largest: a sequence of pictures is limited one by one.
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    limits = {size // 2, size - 1}
    if full:
        limits |= {size * k // 16 for k in range(16)} | {size - k for k in range(1, 40, 4)}
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    old = tmp_path / (name if "%" not in name else "keep")
    old.write_bytes(OLD)
    for size in sorted(n for n in limits if n > 1000):  # pytest's own files need some
        with limit(size):
            result = call(*line)
        assert failed(result), (size, result)
        assert os.listdir(tmp_path) == [old.name] and old.read_bytes() == OLD, size


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["decode FILE -o - -q", "info FILE", "info FILE --json"])
def test_full_standard_output(small, line):
    command = line.replace("FILE", str(small[1])).split()
    with open("/dev/full", "wb") as target:
        done = subprocess.run(
            [sys.executable, "-m", "innvc", *command], stdout=target, stderr=subprocess.PIPE
        )
    said = done.stderr.decode()
    assert done.returncode == 1 and len(said.splitlines()) == 1, said
    assert "No space left on device" in said and "internal" not in said


@pytest.mark.parametrize("name", ["a.innv", "a.yuv", "a.mkv", "a%02d.png"])
@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_read_only_folder(clip, call, folder, name):
    source, encoded, _ = clip
    if not os.path.isdir(folder):
        pytest.skip(f"there is no {folder}")
    line = ["encode", source, *QUICK_OPTIONS] if name == "a.innv" else ["decode", encoded]
    line += ["--pix-fmt", "gbrp"] if name.endswith(".png") else []
    assert failed(call(*line, "-o", f"{folder}/{name}", "-q"), "annot")
