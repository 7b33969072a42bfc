"""Which part of the package reaches which: looked up in processes of their own."""

import importlib
import os
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core import caching

import innvc.bitstream
import innvc.fit
import innvc.model
from innvc.compiled import compiled

VECTORS = Path(__file__).parent / "vectors"
HEAVY = {"torch", "numba", "numpy", "av", "scipy", "pytorch_msssim"}


def loaded(code, *arguments):
    """The modules that are loaded after some code ran in a fresh process."""
    program = f"import sys\n{code}\nprint('\\n'.join(['', 'MODULES', *sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split("MODULES\n")[1].split())


def below(modules, *packages):
    return {m for m in modules if any(m == p or m.startswith(p + ".") for p in packages)}


COMMAND = """
from innvc.cli import app
from innvc.process import run
assert run(app, sys.argv[1:]) == 0
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["encode", "--help"], ["bench", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments):
    assert not below(loaded(COMMAND, *arguments), *HEAVY)


def test_info_loads_nothing_heavy_and_is_quick(clip):
    """Three runs of it and of an import of torch alone, in turn."""
    for more in ([], ["--json"]):
        assert not below(loaded(COMMAND, "info", clip[1], *more), *HEAVY)
    lines = ["-m", "innvc", "info", clip[1]], ["-c", "import torch"]
    times = [[], []]
    for _ in range(3):
        for line, of in zip(lines, times, strict=True):
            began = time.monotonic()
            subprocess.run([sys.executable, *line], capture_output=True, check=True)
            of.append(time.monotonic() - began)
    assert min(times[0]) < min(times[1])


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (2, "encode {source} -o a.innv --lambda -1"),
        (2, "encode {source} -o a.txt"),
        (2, "decode {encoded} -o a.txt"),
        (2, "decode {encoded} -o none/a.y4m"),
        (3, "encode none.mkv -o a.innv"),
        (3, "decode none.innv -o a.y4m"),
        (7, "encode {source} -o {encoded}"),
        (7, "decode {encoded} -o {source}"),
    ],
)
def test_what_is_refused_is_refused_before_torch_is_loaded(clip, code, line):
    command = COMMAND.replace("== 0", f"== {code}")
    words = line.format(source=clip[0], encoded=clip[1]).split()
    assert not below(loaded(command, *words), "torch", "numba")


def test_import_of_the_package_loads_nothing():
    assert below(loaded("import innvc"), "innvc", *HEAVY) == {"innvc"}


def test_decoding_reaches_no_fit(clip, tmp_path):
    """Nor does the API or `innvc verify`."""
    _, encoded, _ = clip
    code = COMMAND.replace("sys.argv[1:]", "['verify', sys.argv[2]]")
    code += "import innvc\ninnvc.open(sys.argv[2])[0]\n" + COMMAND
    modules = loaded(code, "decode", encoded, "-o", tmp_path / "a.yuv")
    assert "innvc.decoder" in modules
    assert not below(modules, "innvc.fit", "innvc.encoder", "innvc.presets", "innvc.bench")
    assert (tmp_path / "a.yuv").stat().st_size == 20 * 48 * 32 * 3 // 2


def test_compiled_functions_call_those_of_their_own_folder():
    """What is kept of a function is not compiled anew when a file elsewhere changes."""
    found = 0
    for name in names(innvc.bitstream) + names(innvc.model) + names(innvc.fit):
        module = importlib.import_module(name)
        own = {n: f for n, f in vars(module).items() if hasattr(f, "py_func")}
        for function in own.values():
            if function.py_func.__module__ != name:
                continue
            found += 1
            for called in function.py_func.__code__.co_names:
                if called in own:
                    other = own[called].py_func.__module__
                    assert other.rpartition(".")[0] == name.rpartition(".")[0], (name, called)
    assert found > 20


def test_what_is_kept_is_not_used_after_a_change_in_its_folder(tmp_path):
    """Of a file that calls another one, in processes of their own."""
    (tmp_path / "a.py").write_text(
        "from innvc.compiled import compiled\nfrom b import other\n\n\n"
        "@compiled\ndef first(x):\n    return other(x)\n"
    )
    for number in (1, 2):
        (tmp_path / "b.py").write_text(
            "from innvc.compiled import compiled\n\n\n"
            f"@compiled\ndef other(x):\n    return x + {number}\n"
        )
        command = [sys.executable, "-c", "import a; print(a.first(1))"]
        for _ in range(2):
            found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert found.stdout == f"{1 + number}\n", found.stderr


def test_without_a_folder_to_keep_them_functions_are_still_compiled(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def square(x):
        return x * x

    assert compiled(square)(3.0) == 9.0


def test_the_first_use_says_that_it_compiles(tmp_path):
    encoded = VECTORS / "nvrc.innv"  # decoded by the fewest compiled functions
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for words in ("note: compiling for this machine", ""):
        command = [sys.executable, "-m", "innvc", "decode", encoded, "-o", tmp_path / "a.yuv", "-y"]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
        assert result.stderr.startswith(words) and ("compiling" in result.stderr) == bool(words)


USE = """
from typing import assert_type
import innvc, numpy
assert_type(innvc.encode("a.mkv", "a.innv", preset="fast", target_psnr=38.0).psnr_u, float | None)
innvc.encode("a.mkv", "a.innv", preset=5)  # type: ignore[arg-type]
with innvc.open("a.innv") as video:
    assert_type([frame.planes for frame in video[10:20]], list[list[numpy.ndarray]])
assert_type(innvc.compare("a.mkv", "a.innv")["psnr_y"], float | None)
"""


@pytest.mark.slow
def test_a_users_script_type_checks(tmp_path):
    """In a folder without the package; the wrong call would be told if it were taken for right."""
    (tmp_path / "script.py").write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "script.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def names(package):
    return [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]


def test_model_reaches_no_bitstream_video_or_fit():
    modules = loaded("\n".join(f"import {name}" for name in names(innvc.model)))
    assert {"innvc.model.prior", "innvc.model.model"} <= modules
    others = ("innvc.bitstream", "innvc.video", "innvc.fit", "innvc.api", "innvc.cli")
    assert not below(modules, *others)


def test_bitstream_reaches_no_fit_or_video():
    modules = loaded("\n".join(f"import {name}" for name in names(innvc.bitstream)))
    assert not below(modules, "innvc.fit", "innvc.video", "innvc.api", "innvc.cli", "av")


def test_reading_and_writing_chunks_need_neither_torch_nor_numpy():
    modules = loaded(
        "import innvc.bitstream.writer, innvc.bitstream.cut, innvc.bitstream.statistics"
    )
    assert not below(modules, *HEAVY)
