"""Every numeric option of every command refuses numbers that cannot be, in one line, before any work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from dataset_files import save_map, save_photo
from help_texts import commands
from toy_models import save_clip, save_toy_bundle

NUMBERS = ("nan", "inf", "-inf", "-1", "1e10", "10000000000", "1" + "0" * 30, "1" + "0" * 400, "x", "")
ARGUMENTS = {
    "saliency-bench": "toy --check base.json",
    "saliency-calib select": "plain --output out",
    "saliency-calib ranges": "toy plain --output out.json",
    "saliency-eval": "toy plain --sigma 1",
    "saliency-export": "--int8 --output out",
    "saliency-run": "toy clip.mp4 --output out.mp4 --qp-map out.npy --policy all",
    "saliency-train fit": "plain --output out --photographs plain --teacher toy/fp32.onnx --distilled 1",
    "saliency-train recipe": "lite2 --data plain --output out",
}
"""What each command is given beside the option, so that it does something."""
TEXTS = {
    "saliency-bench": ("--size", "--batch", "--tolerance"),
    "saliency-calib ranges": ("--shown",),
    "saliency-export": ("--size", "--batch", "--min-cc", "--max-kld", "--search-budget"),
    "saliency-run": ("--smooth", "--policy", "--web"),
    "saliency-train fit": ("--size", "--loss"),
}
"""Options whose text holds numbers."""
LIVE = ("--open-timeout", "--read-timeout", "--give-up")


def numeric_options() -> Iterator[tuple[str, str]]:
    for name in commands():
        (script,) = entry_points(group="console_scripts", name=name)
        app = __import__(script.module, fromlist=["app"]).app
        registered = app.registered_commands
        for command in registered:
            full = name if len(registered) == 1 else f"{name} {command.name or command.callback.__name__}"
            for parameter, hint in get_type_hints(command.callback, include_extras=True).items():
                if get_origin(hint) is Annotated and {int, float} & {
                    hint.__origin__,
                    *get_args(hint.__origin__),
                }:
                    yield full, (hint.__metadata__[0].param_decls or [f"--{parameter.replace('_', '-')}"])[0]
    for full, names in TEXTS.items():
        yield from ((full, option) for option in names)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    save_toy_bundle(folder / "toy")
    save_clip(folder / "clip.mp4", 3)
    for number in (1, 2, 3):
        save_photo(folder / f"plain/images/{number}.jpg")
        save_map(folder / f"plain/maps/{number}.png")
    (folder / "base.json").write_text("{}")
    return folder


def test_all_commands_are_walked() -> None:
    found = list(numeric_options())

    assert {command for command, _ in found} == set(ARGUMENTS)
    assert len(found) > 45


@pytest.mark.parametrize(("command", "option"), list(numeric_options()))
def test_a_number_that_cannot_be_is_refused_at_once(
    command: str,
    option: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    program, *rest = command.split()
    (script,) = entry_points(group="console_scripts", name=program)
    main = script.load()
    words = ARGUMENTS[command]
    if option in LIVE:
        words = words.replace("clip.mp4", "udp://127.0.0.1:1")
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    for number in NUMBERS:
        monkeypatch.setattr("sys.argv", [program, *rest, *words.split(), f"{option}={number}"])
        begun_s = time.process_time()
        with pytest.raises(SystemExit) as raised:
            main()
        lines = capfd.readouterr().err.strip().splitlines()

        assert raised.value.code == 2, (number, lines)
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: "), lines
        assert option in lines[0], lines
        assert time.process_time() - begun_s < 20
    assert sorted(place.rglob("*")) == before
