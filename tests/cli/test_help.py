"""What the program says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import portrayer as package
from portrayer.cli.app import HELP
from portrayer.tasks import TASKS
from portrayer.tasks.matting import Matting
from portrayer.tasks.options import options

from .terminal import portrayer

COMMANDS = ("matte", "enhance", "fuse", "models", "doctor", "presets", "demo", "bench", "serve")


def test_help_answers_without_torch() -> None:
    """``--help`` lists the commands at once: what takes seconds to import is not imported."""
    program = (
        "import sys, portrayer.cli\n"
        "try: portrayer.cli.main(['--help'])\n"
        "finally: print(sorted({'torch', 'cv2', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    *text, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    listed = [line.split()[0] for line in text if line.startswith("  ") and line.strip()]
    assert set(COMMANDS) <= set(listed)
    assert "..." not in done.stdout.partition("Commands:")[2]  # no sentence is cut short


def test_the_list_says_what_the_tasks_say() -> None:
    """Every task is in it, in its own words."""
    for name, task in TASKS.items():
        assert HELP[name] == f"{task.help}."


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_option_of_the_task_is_a_flag(flag: str) -> None:
    """Each field of the option dataclass is there, with its help and its range or choices."""
    shown = portrayer("matte", flag)
    assert (shown.code, shown.err) == (0, "")
    text = "".join(shown.out.decode().split())  # lines are broken anywhere

    def says(words: str) -> bool:
        return "".join(words.split()) in text

    for o in options(Matting):
        assert says(f"--{o.name}")
        assert says(f"{o.help} [")
        assert says(", ".join(o.choices))
        assert o.ge is None or o.le is None or says(f"{o.ge:g} to {o.le:g}{o.unit};")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """``COMMAND --help`` is answered on stdout, exit code 0."""
    shown = portrayer(command, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: portrayer {command}".encode())


def test_nothing_asked_is_answered_with_the_help() -> None:
    """Without a command the help goes to stderr, and the exit code says that nothing was done."""
    bare = portrayer()
    assert (bare.code, bare.out) == (2, b"")
    assert bare.err.splitlines() == portrayer("--help").out.decode().splitlines()


def test_the_version_is_the_packages() -> None:
    """``--version`` prints one line."""
    assert portrayer("--version").out.decode() == f"{package.__version__}\n"
