"""--help fits a screen, --help-all has the rest; shells complete options, values and files."""

import os
import re
import subprocess
import sys

import pytest
import typer
from test_structure import HEAVY, below, loaded

from innvc import help, options, presets, request
from innvc.cli import app

COMMANDS = typer.main.get_command(app).commands


def shown(monkeypatch, call, *arguments):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(*arguments)
    assert code == 0
    return out


def named(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(re.findall(r"^│.*", text, re.M))))


def every(command):
    return {name for p in COMMANDS[command].params for name in p.opts if name.startswith("--")}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen(call, monkeypatch, command):
    lines = shown(monkeypatch, call, *command.split(), "-h").splitlines()
    assert 10 < len(lines) <= (45 if command == "encode" else 36)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_are_shown(call, monkeypatch, command):
    usual = shown(monkeypatch, call, command, "--help")
    rare = [p for p in COMMANDS[command].params if p.rich_help_panel in help.RARE]
    if not rare:
        assert named(usual) == {*every(command), "--help"}
        return
    whole = shown(monkeypatch, call, command, "--help-all")
    assert named(whole) == {*every(command), "--help"}
    assert named(usual) == named(whole) - {name for p in rare for name in p.opts}
    groups = {p.rich_help_panel for p in rare}
    assert all(f"╭─ {group} ─" in whole and f"╭─ {group} ─" not in usual for group in groups)
    assert shown(monkeypatch, call, command, "--help") == usual


def test_what_encode_shows_at_once(call, monkeypatch):
    usual = named(shown(monkeypatch, call, "encode", "--help"))
    assert {"--lambda", "--target-psnr", "--preset", "--frames", "--resume", "--help-all"} <= usual
    assert not {"--no-mask", "--residual", "--seed", "--pix-fmt"} & usual


def request_of(words):
    """What bash asks for the last word, in the environment."""
    last = str(len(words.split(" ")) - 1)
    return {"_INNVC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": last}


@pytest.fixture
def completed(call, monkeypatch, capfd):
    def complete(words):
        for name, value in request_of(words).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            call()
        out, err = capfd.readouterr()
        assert (end.value.code, err) == (0, "")
        return out.split()

    return complete


@pytest.mark.parametrize(
    "words, found",
    [
        ("innvc de", {"decode"}),
        ("innvc encode --no-mo", {"--no-motion", "--no-modulation"}),
        ("innvc encode in.mp4 -p ", set(presets.PRESETS) | {request.AUTO}),
        ("innvc encode in.mp4 --preset s", {"slow"}),
        ("innvc encode in.mp4 --model ", {"innvc", "nvrc"}),
        ("innvc encode in.mp4 --base i", {"identity"}),
        ("innvc decode a.innv --device c", {"cpu", "cuda"}),
        ("innvc decode a.innv --only ", {"field", "latent"}),
    ],
)
def test_values_are_completed(completed, words, found):
    assert set(completed(words)) == found


def test_files_are_completed(completed, tmp_path, monkeypatch):
    for name in ("clip.innv", "clip.mp4", "other.innv", "clips/a.innv", "clips/a.mkv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    for command in ("decode", "info", "verify", "cut", "concat x.innv", "compare x.mp4"):
        assert completed(f"innvc {command} ") == ["clip.innv", "other.innv", "clips/"]
    assert completed("innvc info clip") == ["clip.innv", "clips/"]
    assert completed("innvc info clips/") == ["clips/a.innv"]
    assert completed("innvc info clips") == []  # the shell's own completion
    monkeypatch.chdir("/")
    assert completed(f"innvc info {tmp_path}/o") == [f"{tmp_path}/other.innv"]


def test_a_shell_asks_a_process():
    done = subprocess.run(
        [sys.executable, "-m", "innvc"],
        env=os.environ | request_of("innvc encode in.mp4 --preset s"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "slow\n", "")


def test_completion_loads_nothing_heavy(monkeypatch):
    for name, value in request_of("innvc encode in.mp4 -p m").items():
        monkeypatch.setenv(name, value)
    modules = loaded(
        "import atexit\n"
        "atexit.register(lambda: print('\\n'.join(['', 'MODULES', *sys.modules])))\n"
        "from innvc.cli import main\nmain()"
    )
    assert "innvc.cli" in modules and not below(modules, *HEAVY)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell):
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "innvc", "--show-completion", shell]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "_INNVC_COMPLETE=complete_" + shell in done.stdout


def test_choices_are_those_of_the_encoder():
    assert set(options.PRESETS) == {*presets.PRESETS, request.AUTO}
