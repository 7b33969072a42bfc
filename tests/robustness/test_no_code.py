"""The decoder's sources, and all that they import, hold nothing that runs code of a file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS = ("innvc.reader", "innvc.decoder", "innvc.picture_decoder", "innvc.inspection")
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
MODULES |= {"subprocess", "pty", "code", "codeop", "runpy", "importlib.util", "ctypes", "cffi"}
NAMES = {"eval", "exec", "compile", "__import__"}
CALLS = {"torch.load", "torch.jit.load", "torch.hub.load", "os.system", "os.popen", "os.execv"}
CALLS |= {"os.spawnv", "importlib.import_module", "importlib.reload", "builtins.eval"}
CALLS |= {"numpy.fromfile", "pandas.read_pickle"}


def file_of(name):
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(tree):
    """Names of modules that a source imports anywhere, also for its types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reachable(starts):
    """Sources of the package that are imported from some, by name."""
    found, waiting = {}, list(starts)
    while waiting:
        name = waiting.pop()
        if name in found or not name.startswith("innvc") or file_of(name) is None:
            continue
        found[name] = ast.parse(file_of(name).read_text("utf-8"))
        if name != "innvc":  # which names the encoder, too, and loads what is asked for
            waiting += [*imported(found[name]), name.rpartition(".")[0]]
    return found


def dotted(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def offences(tree):
    """What runs code, or can."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for module in imported(tree):
        parts = module.split(".")
        if any(".".join(parts[:n]) in MODULES for n in range(1, len(parts) + 1)):
            yield module
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in NAMES and node.id not in names:
            yield node.id
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        first, _, rest = dotted(node).partition(".")
        full = ".".join(filter(None, (names.get(first, first), rest)))
        if full in CALLS:
            yield full
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                constant = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "allow_pickle" and not constant:
                    yield "allow_pickle"
                if keyword.arg == "shell" and not constant:
                    yield "shell"


def test_the_decoder_runs_no_code():
    found = reachable(STARTS)
    assert {"innvc.bitstream.reader", "innvc.bitstream.latent", "innvc.model.prior"} <= set(found)
    assert {"innvc.model.starting_points", "innvc.bitstream.tables"} <= set(found)
    assert not any(name.startswith(("innvc.fit", "innvc.bench")) for name in found)
    wrong = {name: list(offences(tree)) for name, tree in found.items()}
    assert {name: what for name, what in wrong.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import yaml.loader",
        "import subprocess as s",
        "import torch as t\nx = t.load('a')",
        "from torch import load\nload('a')",
        "import os\nf = os.system",
        "x = eval('1')",
        "f = exec",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "import numpy as np\nnp.load('a', allow_pickle=flag)",
    ],
)
def test_what_runs_code_is_found(source):
    assert list(offences(ast.parse(source)))


def test_what_runs_none_is_left():
    source = "import re\nimport numpy as np\nre.compile('a')\nnp.load('a', allow_pickle=False)"
    assert not list(offences(ast.parse(source)))
