"""The `--help` texts of all commands and their subcommands; `make golden` runs this to write them anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "help"


def commands() -> list[str]:
    """List the project's console scripts by name."""
    scripts = entry_points(group="console_scripts")
    return sorted(script.name for script in scripts if script.module.startswith("saliency_edge."))


def help_text(command: Sequence[str]) -> str:
    """Run a command with `--help` as a user would, 80 columns wide."""
    program = str(Path(sys.executable).parent / command[0])
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [program, *command[1:], "--help"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def help_texts() -> dict[str, str]:
    """Give all texts by file name: `saliency-run.txt`, and `saliency-train-fit.txt` for a subcommand."""
    texts = {}
    for command in commands():
        texts[f"{command}.txt"] = text = help_text([command])
        _, _, listed = text.partition("\nCommands:\n")
        for subcommand in re.findall(r"(?m)^  ([a-z][\w-]*)", listed):
            texts[f"{command}-{subcommand}.txt"] = help_text([command, subcommand])
    return texts


def write() -> None:
    """Write the golden texts, and remove those of commands that are gone."""
    texts = help_texts()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in GOLDEN.glob("*.txt"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (GOLDEN / name).write_text(text, encoding="utf-8")
    print(f"{len(texts)} texts in {GOLDEN}")


if __name__ == "__main__":
    write()
