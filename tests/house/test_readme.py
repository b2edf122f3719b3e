"""README.md's commands: those that can run here are run on tiny inputs, of all others the options are parsed.

The inputs lie in a folder under the names that the README uses. New names go into `sandbox`, new
programs into `OTHER_PROGRAMS`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from dataset_files import save_map, save_photo
from parsing import parsed
from toy_models import save_clip, save_images, save_toy_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
# What is run where all of its files are there; the rest trains, exports, measures or waits for long.
RUN = {"saliency-run", "saliency-eval", "saliency-doctor", "ffmpeg"}
# Options with which a command does not end by itself.
ENDLESS = {"web", "window"}
OTHER_PROGRAMS = {
    ".",
    "apt-get",
    "cd",
    "curl",
    "docker",
    "ffmpeg",
    "git",
    "make",
    "pip",
    "python3",
    "scp",
    "sudo",
    "tensorboard",
}
LIMIT_S = 120
FEWEST_COMMANDS = 8


@dataclass(frozen=True)
class Command:
    """A command of the README, as a shell would split it."""

    line: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return f"README.md:{self.line}: {shlex.join(self.words)}"


def commands_in(text: str) -> Iterator[Command]:
    """Find the commands in the `console` blocks; those behind a pipe or && count for themselves."""
    for block in re.finditer(r"(?ms)^```console\n(.*?)^```", text):
        first_line = text.count("\n", 0, block.start(1)) + 1
        joined = block[1].replace("\\\n", "  ")
        for offset, line in enumerate(joined.splitlines()):
            if line.startswith("$ "):
                yield from _split(line[2:], first_line + offset)


def _split(line: str, number: int) -> Iterator[Command]:
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word not in ("|", "&&", ";", "&"):
            words.append(word)
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            yield Command(number, tuple(words))
        words = []


COMMANDS = list(commands_in((REPOSITORY / "README.md").read_text(encoding="utf-8")))


def own_commands() -> dict[str, str]:
    scripts = entry_points(group="console_scripts")
    return {script.name: script.module for script in scripts if script.module.startswith("saliency_edge.")}


def parsed_command(command: Command) -> tuple[dict[str, Any], list[str]]:
    """Parse one of our own commands as it does itself, without running it.

    Returns:
        Its options by name, and its arguments.
    """
    return parsed(import_module(own_commands()[command.program]).app, command.words[1:])


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny things under the README's names."""
    from seeded_networks import save_seeded  # loads torch, which the other tests do without

    folder = tmp_path_factory.mktemp("readme")
    save_toy_bundle(folder / "deep_half", ("fp32", "fp16", "int8"))
    save_toy_bundle(folder / "mine", ("fp32", "fp16", "int8"))
    save_clip(folder / "clip.mp4", 6, (48, 64))
    (folder / "photos").mkdir()
    save_images(folder / "photos", 2)
    save_seeded(folder / "mine.safetensors")
    (folder / "runs/mine").mkdir(parents=True)
    shutil.copyfile(folder / "mine.safetensors", folder / "runs/mine/deep_half.safetensors")
    for name in ("images/{}/1.jpg", "images/{}/22.jpg"):
        for split in ("train", "val"):
            path = folder / "path/to/SALICON" / name.format(split)
            save_photo(path)
            save_map(Path(str(path).replace("/images/", "/maps/")).with_suffix(".png"))
    return folder


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = (
        "# x\n\n```console\n$ make demo    # weights -> clip\nwhat it prints\n"
        "$ A=1 saliency-run b 'shots/*.png' \\\n      --every 2 | ffmpeg -i -\n```\n\n```\n$ no\n```\n"
    )

    assert list(commands_in(text)) == [
        Command(4, ("make", "demo")),
        Command(6, ("saliency-run", "b", "shots/*.png", "--every", "2")),
        Command(6, ("ffmpeg", "-i", "-")),
    ]


@pytest.mark.parametrize("words", ["", "deep_half clip.mp4 --nope", "deep_half clip.mp4 --opacity 7"])
def test_options_that_are_wrong_would_be_refused(words: str) -> None:
    with pytest.raises(Exception, match=r"Missing|No such option|less than or equal to 1"):
        parsed_command(Command(1, ("saliency-run", *words.split())))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= FEWEST_COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_each_program_is_known(command: Command) -> None:
    known = {*own_commands(), *OTHER_PROGRAMS, "python", "torchrun"}

    assert command.program in known, (
        f"{command}: this test does not know {command.program!r}. "
        "Mend the README, or add the program to OTHER_PROGRAMS in tests/house/test_readme.py"
    )


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program in own_commands()], ids=str)
def test_options_are_understood(command: Command) -> None:
    try:
        parsed_command(command)
    except Exception as error:
        pytest.fail(f"{command}\nis refused: {getattr(error, 'message', error)}")


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program == "make"], ids=str)
def test_targets_are_there(command: Command) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z]+):.*## ", makefile))

    assert {word for word in command.words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program == "pip"], ids=str)
def test_extras_are_there(command: Command, pyproject: dict[str, Any]) -> None:
    named = re.findall(r"saliency-edge\[([\w,-]+)\]", " ".join(command.words))
    extras = {extra for one in named for extra in one.split(",")}

    assert extras <= set(pyproject["project"]["optional-dependencies"])


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program == "python"], ids=str)
def test_scripts_are_there(command: Command) -> None:
    assert command.words[1] == "-m" or (REPOSITORY / command.words[1]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program in RUN], ids=str)
def test_it_runs(command: Command, sandbox: Path) -> None:
    """Run in the README's order: one command's file may be the next one's input."""
    reason = why_not_run(command, sandbox)
    if reason:
        pytest.skip(reason)
    done = subprocess.run(
        [program_of(command), *command.words[1:]],
        cwd=sandbox,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def program_of(command: Command) -> str:
    own = Path(sys.executable).parent / command.program
    return str(own) if own.is_file() else command.program


def why_not_run(command: Command, sandbox: Path) -> str | None:
    """Say why a command cannot be run here; None where it can."""
    if command.program == "ffmpeg":
        files = [
            after for before, after in zip(command.words, command.words[1:], strict=False) if before == "-i"
        ]
        if shutil.which("ffmpeg") is None:
            return "no ffmpeg here"
    else:
        values, files = parsed_command(command)
        endless = [name for name in ENDLESS if values.get(name)]
        if endless:
            return f"with {' and '.join(endless)} it does not end by itself"
    missing = [name for name in files if Path(name).is_absolute() or not any(sandbox.glob(name))]
    return f"{', '.join(missing)} is not in this test's folder" if missing else None
