"""What pyproject.toml promises is what is there, and what a wheel carries."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

LOCKED_EXTRAS = ("onnxruntime", "train", "export", "rtx", "matlab", "dev")
PYENV = Path.home() / ".pyenv/versions"
FOLDERS = ("runtime", "train", "calib", "export")


def tracked_files(repository: Path) -> list[str]:
    """List the files that git has, or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (repository / name).is_file()]


def test_packages_are_the_folders_that_hold_an_init(repository: Path, pyproject: dict[str, Any]) -> None:
    found = {
        ".".join(["saliency_edge", *init.parent.relative_to(repository).parts])
        for folder in FOLDERS
        for init in (repository / folder).rglob("__init__.py")
    }

    assert set(pyproject["tool"]["setuptools"]["packages"]) == found


def test_the_namespace_has_no_init(repository: Path) -> None:
    assert not (repository / "saliency_edge").exists()
    assert all((repository / folder / "py.typed").is_file() for folder in FOLDERS)


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked_files(repository):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(folder / "source")], check=True)
    return next(folder.glob("*.whl"))


def test_wheel_carries_every_file_of_the_packages(repository: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}

    names = tracked_files(repository)
    assert packed == {f"saliency_edge/{name}" for name in names if name.split("/")[0] in FOLDERS}
    assert licences == {"LICENSE", "NOTICE"}


def bare_environment(folder: Path, python: str = sys.executable) -> Path:
    """A virtual environment of its own; its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, env=environment())
    return folder / "bin/python"


def environment(**more: str) -> dict[str, str]:
    """What a user has set, without this tree's PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, **more}


USERS_SCRIPT = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from saliency_edge.runtime import Predictor, SaliencyError


def brightest(frame_bgr: NDArray[np.uint8]) -> tuple[int, int]:
    try:
        with Predictor("lite2", precision="int8", threads=2) as predictor:
            saliency: NDArray[np.float32] = predictor(frame_bgr)
            density: NDArray[np.float32] = predictor(Path("a.jpg"), output="density")
            maps: list[NDArray[np.float32]] = predictor.batch([frame_bgr], channel_order="rgb")
            for result in predictor.stream("camera:0", regions=3):
                age_s: float = result.age_s
                overlay: NDArray[np.uint8] = result.overlay(opacity=0.5)
                print(age_s, overlay.shape, result.saliency.max(), result.regions[:1], density, maps)
    except SaliencyError as error:
        print(error)
    row, column = divmod(int(saliency.argmax()), saliency.shape[1])
    return row, column
"""


@pytest.mark.slow
def test_a_users_script_is_typed_against_the_installed_package(wheel: Path, tmp_path: Path) -> None:
    python = bare_environment(tmp_path / "venv")
    (site,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in ("numpy", "cv2", "msgspec", "rich", "typer"):  # those that its types name
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        (site / name).symlink_to(Path(found.origin).parent)
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(USERS_SCRIPT, encoding="utf-8")
    wrong.write_text(USERS_SCRIPT.replace('"int8"', '"int4"'), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    results = [
        subprocess.run(
            [*command, "--cache-dir", str(tmp_path / "cache"), str(path)],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for path in (right, wrong)
    ]

    assert results[0].returncode == 0, results[0].stdout + results[0].stderr
    assert "incompatible type \"Literal['int4']\"" in results[1].stdout


THREE_LINES = """
import time
import numpy as np
from saliency_edge.runtime import Predictor
start_s = time.perf_counter()
predictor = Predictor("lite2")
saliency = predictor(np.zeros((480, 640, 3), np.uint8))
print(saliency.shape, saliency.dtype, time.perf_counter() - start_s)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.12"])
def test_three_lines_run_where_only_the_devices_packages_are(
    version: str, wheel: Path, tmp_path: Path
) -> None:
    """With what `pip install 'saliency-edge[openvino]'` brings and no more; skipped without an index."""
    found = [*map(str, PYENV.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
    interpreter = next(filter(None, found), None)
    if interpreter is None:
        pytest.skip(f"no Python {version} here")
    python = bare_environment(tmp_path / "venv", interpreter)
    install = [str(python), "-m", "pip", "install", "-q", "-q", f"{wheel}[openvino]"]
    done = subprocess.run(install, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install here: {done.stderr.strip().splitlines()[-1:]}")
    own = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    for _ in range(2):
        done = subprocess.run(
            [str(python), "-c", THREE_LINES],
            env=own,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("(480, 640) float32")
    check = [str(python.parent / "saliency-run"), "lite2", "--check"]
    done = subprocess.run(check, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OpenVINO int8" in done.stdout
    assert "passes, taken" in done.stdout


@pytest.fixture(scope="session")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the last commit."""
    folder = tmp_path_factory.mktemp("dist") / "clone"
    done = subprocess.run(["git", "clone", "-q", str(repository), str(folder)], check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return folder


@pytest.mark.slow
def test_make_dist_gives_the_same_wheel_twice_and_twine_takes_it(repository: Path, clone: Path) -> None:
    twine = repository / ".cache/dist/bin/twine"
    if not twine.is_file():
        pytest.skip("no twine in .cache/dist: make test sets it up")
    checksums = []
    for _ in range(2):
        command = ["make", "-s", "-C", str(clone), "dist", f"TWINE={twine}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("PASSED") == len(["wheel", "source archive"])
        (wheel,) = (clone / "dist").glob("*.whl")
        checksums.append(hashlib.sha256(wheel.read_bytes()).hexdigest())

    assert wheel.name.endswith("-py3-none-any.whl")
    assert len(set(checksums)) == 1


@pytest.mark.parametrize(
    ("machine", "python", "package"),
    [
        ("x86_64", "3.10", "onnxruntime-gpu"),
        ("aarch64", "3.10", "onnxruntime"),
        ("aarch64", "3.12", "onnxruntime-gpu"),
        ("riscv64", "3.12", "onnxruntime"),
    ],
)
def test_one_onnxruntime_for_each_machine(
    machine: str, python: str, package: str, pyproject: dict[str, Any]
) -> None:
    """The two packages share a folder: installed together, they break each other."""
    environment = {"platform_machine": machine, "python_version": python}
    entries = map(Requirement, pyproject["project"]["optional-dependencies"]["onnxruntime"])

    assert [entry.name for entry in entries if entry.marker and entry.marker.evaluate(environment)] == [
        package
    ]


def test_version_is_the_changelogs_newest(repository: Path, pyproject: dict[str, Any]) -> None:
    versions = re.findall(
        r"^## \[(\d[^]]*)\]", (repository / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )

    assert pyproject["project"]["version"] == versions[0]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oracle.txt"])
def test_lock_pins_everything_with_hashes_and_names_no_index(name: str, repository: Path) -> None:
    text = (repository / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())

    assert len(entries) > 20
    assert [
        entry for entry in entries if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry
    ] == []
    assert re.findall(r"(?m)^--|://", text) == []


def test_lock_has_every_requirement(repository: Path, pyproject: dict[str, Any]) -> None:
    lock = (repository / "constraints.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"(?m)^([\w.-]+)==", lock))
    extras = pyproject["project"]["optional-dependencies"]
    wanted = [
        *pyproject["project"]["dependencies"],
        *(item for extra in LOCKED_EXTRAS for item in extras[extra]),
    ]
    names = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted} - {"saliency-edge"}

    assert names - pinned == set()
