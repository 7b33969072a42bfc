"""Headers that declare too much: refused at once, in little memory, before torch is loaded."""

import dataclasses
import json
import subprocess
import sys

import msgspec
import pytest
from helpers import make_clip
from mutation import assemble, records

import innvc as package
from innvc.bitstream.budget import parameter_count
from innvc.bitstream.header import HeaderRecord, Limits, packed_channels
from innvc.bitstream.reader import Reader
from innvc.errors import InnvcError, LimitError, UsageError
from innvc.options import limits

FIELD = [[2, 2, 2], 1, 2, [8, 8, 8, 8], [1, 1, 1, 1], [1, 2, 2, 2], 2, 0, 3, []]
# Place in HEAD, and the greatest valid value where the field has one.
PLACES = {
    "width": ((0,), 65535),
    "height": ((1,), 65535),
    "frames": ((3,), 1 << 24),
    "keyint": ((13,), (1 << 31) - 1),
    "packing": ((18, 0), 2),
    "stages": ((18, 1), 6),
    "gop": ((18, 3), 32),
    "group": ((18, 4, 0), 1 << 20),
    "layer": ((18, 5, 0), 1 << 20),
    "grid time": ((18, 7, 0, 0), 1 << 20),
    "grid height": ((18, 7, 0, 1), 1 << 20),
    "grid channels": ((18, 7, 1), 1 << 20),
    "grid levels": ((18, 7, 2), 8),
    "field channels": ((18, 7, 3, 0), 1 << 20),
    "field depth": ((18, 7, 4, 0), 1 << 20),
    "field scale": ((18, 7, 5, 0), 8),
    "expansion": ((18, 7, 6), 8),
    "local channels": ((18, 7, 7), 1 << 20),
    "local levels": ((18, 7, 8), 8),
    "hidden": ((18, 8, 2), 1 << 20),
    "reach": ((18, 8, 3), 1 << 20),
    "halves": ((18, 8, 4), 1 << 20),
    "intra values": ((18, 8, 5, 0), 1 << 20),
    "intra scales": ((18, 8, 5, 1), 1 << 20),
    "scale units": ((18, 8, 9), 1 << 20),
    "start": ((18, 9), 65535),
}
VALID_ZEROS = {"local channels", "hidden", "reach", "halves", "scale units"}

# Linux lets ru_maxrss begin at that of the process that started this one; VmHWM begins anew.
PEAK = """
import json, resource, sys, time
def peak():
    if sys.platform == "linux":
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    factor = 1 if sys.platform == "darwin" else 1024
    return factor * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
CHILD = """
from innvc.bitstream.reader import Reader
from innvc.errors import InnvcError
results = []
for path in sys.argv[1:]:
    began, error = time.process_time(), None
    try:
        Reader(path).close()
    except InnvcError as caught:
        error = [caught.exit_code, caught.message, caught.hint]
    results.append([error, time.process_time() - began])
loaded = [name for name in ("torch", "numpy", "numba") if name in sys.modules]
print(json.dumps([results, loaded, peak()]))
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A file with a field, as records."""
    folder = tmp_path_factory.mktemp("limits")
    clip = make_clip(folder / "a.mkv", width=16, height=16, count=1)
    package.encode(clip, folder / "a.innv", preset="instant", steps=0)
    found = records((folder / "a.innv").read_bytes())
    model = found[0][1][18]
    model[13] = False  # prediction and a field exclude each other
    model[7] = FIELD
    return found


def opened(paths):
    done = subprocess.run(
        [sys.executable, "-c", PEAK + CHILD, *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results, loaded, peak = json.loads(done.stdout)
    assert loaded == [] and peak < 150_000_000
    assert max(seconds for _, seconds in results) < 1
    return [error for error, _ in results]


def with_value(parts, path, value):
    header = msgspec.msgpack.decode(msgspec.msgpack.encode(parts[0][1]))
    holder = header
    for step in path[:-1]:
        holder = holder[step]
    assert isinstance(holder[path[-1]], int)
    holder[path[-1]] = value
    return assemble([[b"HEAD", header], *parts[1:]])


def test_the_file_itself_is_read(parts, tmp_path):
    (tmp_path / "a.innv").write_bytes(assemble(parts))
    assert opened([tmp_path / "a.innv"]) == [None]


def test_every_field_of_the_header(parts, tmp_path):
    cases = []
    for name, (path, most) in PLACES.items():
        for value in (0, most, most + 1, (1 << 32) - 1, (1 << 64) - 1):
            file = tmp_path / f"{len(cases)}.innv"
            file.write_bytes(with_value(parts, path, value))
            cases.append((name, value, most, file))
    errors = opened([file for *_, file in cases])
    for (name, value, most, _), error in zip(cases, errors, strict=True):
        if value > most or (value == 0 and name not in VALID_ZEROS | {"intra scales", "start"}):
            assert error is not None, (name, value)
        if value == 0 and name in VALID_ZEROS:
            assert error is None, (name, error)
        if error is not None:
            assert error[0] in (4, 6) and error[2], (name, value, error)
    refused = {name for (name, v, m, _), e in zip(cases, errors, strict=True) if e and v == m}
    assert {"grid channels", "field channels", "field depth", "hidden"} <= refused


def test_all_at_once(parts, tmp_path):
    """Each value is valid, and all together are not."""
    header = msgspec.msgpack.decode(msgspec.msgpack.encode(parts[0][1]))
    header[0] = header[1] = 16000
    (tmp_path / "a.innv").write_bytes(assemble([[b"HEAD", header], *parts[1:]]))
    header[0] = header[1] = 7000
    header[3], header[18][3] = 32, 32
    (tmp_path / "b.innv").write_bytes(assemble([[b"HEAD", header], *parts[1:]]))
    first, second = opened([tmp_path / "a.innv", tmp_path / "b.innv"])
    assert first[0] == second[0] == 6
    assert "samples a frame" in first[1] and "--limit frame-samples=VALUE" in first[2]
    assert "memory" in second[1] and "--limit memory-bytes=VALUE" in second[2]


def test_declared_lengths(parts, tmp_path):
    """Of each chunk, of the place of the index, and of strings and lists in records."""
    data, files = assemble(parts), []

    def add(changed):
        files.append(tmp_path / f"{len(files)}.innv")
        files[-1].write_bytes(changed)

    place = 10
    while place < len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        for value in (0, size + 1, 1 << 30, (1 << 30) + 1, (1 << 32) - 1):
            add(data[: place + 4] + value.to_bytes(4, "little") + data[place + 8 :])
        place += size + 12
    for value in (0, len(data), (1 << 32) - 1, (1 << 64) - 1):
        add(assemble([*parts[:-1], [b"TEND", value.to_bytes(8, "little")]], index=False))
    huge = b"\xff\xff\xff\xff"
    for payload in (b"\xdd" + huge, b"\xc6" + huge, b"\xdb" + huge, b"\x91" * 60000):
        for n, (name, _) in enumerate(parts[:-1]):
            add(assemble([*parts[:n], [name, payload], *parts[n + 1 :]]))
    errors = opened(files)
    # Other chunks are looked at when they are read.
    unread = [file for file, error in zip(files, errors, strict=True) if error is None]
    for file in unread:
        with pytest.raises(InnvcError), Reader(file) as reader:
            reader.check_all()
    assert len(files) - len(unread) > 20
    assert all(error[0] in (4, 6) for error in errors if error is not None)


def test_limits_of_the_command_line(clip, call, tmp_path):
    source, encoded, _ = clip
    commands = (["info", encoded], ["verify", encoded], ["compare", source, encoded])
    for command in (*commands, ["decode", encoded, "-o", tmp_path / "a.yuv"]):
        code, out, err = call(*command, "--limit", "frames=19")
        assert (code, out) == (6, "") and "--limit frames=VALUE" in err, err
        assert len(err.splitlines()) == 1 and not list(tmp_path.iterdir())
    code, _, err = call("info", encoded, "--limit", "frames=20", "--limit", "memory-bytes=1G")
    assert code == 0, err
    code, _, err = call("info", encoded, "--limit", "frames=20", "--limit", "memory-bytes=1M")
    assert code == 6 and "memory-bytes=VALUE" in err
    for wrong in ("frames", "frames=", "frames=-1", "frame=1", "frames=1T", "frames=1.5"):
        code, _, err = call("info", encoded, "--limit", wrong)
        assert code == 2 and "header-bytes" in err


def test_limits_of_the_interface(clip, tmp_path):
    source, encoded, _ = clip
    few = package.Limits(frames=19)
    for use in (
        lambda: package.open(encoded, limits=few),
        lambda: package.verify(encoded, limits=few),
        lambda: package.compare(source, encoded, limits=few),
        lambda: package.decode(encoded, tmp_path / "a.yuv", limits=few),
    ):
        with pytest.raises(LimitError, match="20 frames"):
            use()


def test_names_of_limits():
    """Each can be set, and the documents know it."""
    for number, field in enumerate(dataclasses.fields(Limits)):
        name = field.name.replace("_", "-")
        assert getattr(limits([f"{name}={number}K"]), field.name) == number << 10
        assert limits([]) == Limits()
    with pytest.raises(UsageError):
        limits(["frames=3", "none=3"])


def test_decoding_refuses_before_torch(parts, tmp_path):
    path = tmp_path / "a.innv"
    path.write_bytes(with_value(parts, (3,), (1 << 24) + 1))
    code = (
        "import sys\nfrom innvc.cli import app\nfrom innvc.process import run\n"
        "found = run(app, sys.argv[1:])\nassert 'torch' not in sys.modules\nsys.exit(found)"
    )
    for command in (["decode", "-o", tmp_path / "a.yuv"], ["verify"], ["info"]):
        line = [sys.executable, "-c", code, command[0], path, *command[1:]]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 6, done.stderr


KINDS = {
    "default": ("yuv420p", {"preset": "instant"}),
    "rgb": ("gbrp12le", {"preset": "fast"}),  # with a post-filter of its own
    "slow": ("yuv422p", {"preset": "slow"}),
    "residual": ("gray", {"preset": "compact", "residual": True, "grid_context": True}),
    "nvrc": ("yuv420p", {"preset": "fast", "model": "nvrc"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_the_model(tmp_path, kind):
    """The count is the model's, but for small blocks, which count as more."""
    from innvc.bitstream import budget
    from innvc.decoder import layout_of
    from innvc.model.model import InnvcModel
    from innvc.model.picture import PictureModel

    pix_fmt, options = KINDS[kind]
    clip = make_clip(tmp_path / "a.mkv", pix_fmt, 32, 32, 2)
    package.encode(clip, tmp_path / "a.innv", steps=0, **options)
    with Reader(tmp_path / "a.innv") as reader:
        header: HeaderRecord = reader.header
    if header.model.field_role == "picture":
        model = PictureModel(header.model, layout_of(pix_fmt))
    else:
        model = InnvcModel(header.model, layout_of(pix_fmt), header.step_base)
    real = sum(parameter.numel() for parameter in model.parameters())
    packed = packed_channels(pix_fmt, header.model.packing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "LEAST_BLOCK", 0)
        assert parameter_count(header.model, packed) == real
    assert parameter_count(header.model, packed) >= real


DECODE = """
from innvc.cli import app
from innvc.process import run
assert run(app, ["decode", sys.argv[1], "-o", sys.argv[2], "-q", "-y"]) == 0
print(peak())
"""


def peak_bytes(path, output):
    line = [sys.executable, "-c", PEAK + DECODE, path, output]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def repeated(parts, count):
    """A file of one frame with that frame as often as wanted, each in a packet of its own."""
    head, segment, parameters, packet, index, end = parts
    header, record = list(head[1]), [0, count, [1] * count, list(range(count)), []]
    header[3] = count
    packets = [[b"PACK", [n, *packet[1][1:]]] for n in range(count)]
    index = [[[0, 0, 0, count, [], None]]]
    segment = [b"SEGM", [*record, *segment[1][5:]]]
    return assemble([[b"HEAD", header], segment, parameters, *packets, [b"INDX", index], end])


def test_memory_does_not_grow_with_the_frames(tmp_path, full):
    """One frame against 100, in the full set 1,000; and both are within the estimate."""
    clip = make_clip(tmp_path / "a.mkv", count=1)
    package.encode(clip, tmp_path / "a.innv", preset="instant", steps=0)
    parts = records((tmp_path / "a.innv").read_bytes())
    peaks = []
    for count in (1, 1000 if full else 100):
        path = tmp_path / f"{count}.innv"
        path.write_bytes(repeated(parts, count))
        peaks.append(peak_bytes(path, tmp_path / "a.yuv"))
        assert (tmp_path / "a.yuv").stat().st_size == count * 48 * 32 * 3 // 2
    print("peak MB:", [peak >> 20 for peak in peaks])
    assert peaks[1] < 1.1 * peaks[0]
    with pytest.raises(LimitError, match="memory"):
        package.decode(path, tmp_path / "b.yuv", limits=Limits(memory_bytes=max(peaks)))
