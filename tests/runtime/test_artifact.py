"""Files and folders that are whole or absent, whoever writes there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saliency_edge.runtime.artifact import atomic_file, atomic_folder, write_json

_WRITER = """
import sys, time
from pathlib import Path
from saliency_edge.runtime.artifact import atomic_file, atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder, atomic_file(folder / "half.json") as file:
    file.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("inner", ["manifest.json", "int8/manifest.json"])
def test_files_are_written_in_a_folder_that_is_being_made(tmp_path: Path, inner: str) -> None:
    with atomic_folder(tmp_path / "bundle") as folder:
        write_json(folder / inner, {"whole": True})
    assert (tmp_path / "bundle" / inner).read_text() == '{\n  "whole": true\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.timeout(60)
def test_what_a_kill_left_goes_with_the_next_writing_and_what_is_being_written_stays(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        for name in ("killed", "alive")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
        os.kill(writers[0].pid, signal.SIGKILL)
        writers[0].wait()
        assert len(list(tmp_path.iterdir())) == 2

        deadline = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) > 2 or not (tmp_path / "new").exists():
            assert time.monotonic() < deadline
            subprocess.run(
                [sys.executable, "-c", _WRITER.replace("sleep(60)", "sleep(0)"), str(tmp_path / "new")],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left[0].startswith(".alive")
        assert left[1:] == ["new"]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
