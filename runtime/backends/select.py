"""From what the user calls MODEL to a loaded model: the one loop over what could run it here.

Accuracy and speed are never inherited from the machine that made a bundle. Each candidate, a backend with a
precision, is proved here: its maps of the golden frames are compared with PyTorch's, and it is timed. The
fastest that passes is taken, and what was found is kept (`records.py`), so that the next start is quick.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..artifact import refuse_pickle
from ..bundle import MANIFEST_NAME, Bundle
from ..contract import Precision
from ..errors import ArtifactError, BackendError, BuildError, ParityError, SaliencyError, UsageError
from ..machine import find_gpu
from ..parity import GoldenReport, check_golden
from ..ready import find_model, ready_names
from .backend import (
    CPU_TIER,
    EXACT_TIER,
    Backend,
    CachingModel,
    Candidate,
    LoadOptions,
    Model,
    ModelSource,
)
from .onnxruntime_backend import OnnxRuntimeBackend
from .openvino_backend import OpenVinoBackend
from .records import Proof, Records, key_of, promises_of
from .tensorrt.receipt import bundle_of
from .tensorrt.tensorrt_backend import TensorRtBackend

BACKENDS_GROUP = "saliency_edge.backends"
AUTO = "auto"
DEFAULTS = LoadOptions()
_TIMED_S = 0.3
_TIMED_FIRST_S = 0.1  # of a candidate at the first start, which somebody waits for; --check takes longer
_TIMES_SLOWER = 2.0  # than the best so far, and a candidate is looked at no further
_MOST_NAMED = 3
_INT8_FIRST = ("int8", "fp16", "fp32", None)


def backends() -> dict[str, Backend]:
    """List all backends by name, best guess first: ours, then those of installed packages."""
    found: dict[str, Backend] = {
        backend.name: backend for backend in (TensorRtBackend(), OpenVinoBackend(), OnnxRuntimeBackend())
    }
    for entry in entry_points(group=BACKENDS_GROUP):
        try:
            found.setdefault(entry.name, entry.load()())
        except ImportError:  # of a package that is not whole; a model of its kind is refused by name
            continue
    return found


def load_model(path: Path, precision: Precision | None = None, options: LoadOptions = DEFAULTS) -> Model:
    """Load a model with the fastest backend that gives PyTorch's maps on this machine.

    A line for `options.inform` says which was taken, how fast and exact it is, and what it was faster than;
    one for `options.say`, where something that was expected to run was refused.

    Args:
        path: a bundle (folder or .zip), an `.onnx`, an `.engine`, or on a workstation a `.safetensors`.
        precision: which model of a bundle; None leaves the choice to what is proved.
        options: which backend, and what may step into its place.

    Raises:
        UsageError: nothing here loads that kind of file, or `precision` or the backend is not for it.
        ArtifactError: it is missing, damaged, for another machine, or a pickle, which is never loaded.
        BackendError: what runs it is not installed.
        ParityError: its maps are not PyTorch's in any backend.
    """
    with _open(path, precision) as source:
        choice = _Choice(source, options)
        for candidate in choice.best_first():
            if choice.is_settled_before(candidate):
                break
            choice.consider(candidate)
        model = choice.result()
    if precision is not None and model.contract.precision != precision:
        model.close()
        raise UsageError(
            f"{path} is {model.contract.precision}, not {precision}. --precision chooses within a bundle"
        )
    return model


class _Choice:
    """The best candidate so far, and what became of the others."""

    def __init__(self, source: ModelSource, options: LoadOptions) -> None:
        self._source, self._options = source, options
        self._backends = _asked_backends(options)
        self._records = Records(source)
        self._candidates = _probe(source, self._backends, options)
        self._best: tuple[Candidate, Model, Proof | None] | None = None
        self._beaten: list[Proof] = []
        self._refused: list[tuple[Candidate, SaliencyError]] = []
        self._said_once = False

    def best_first(self) -> list[Candidate]:
        """Order the candidates: by tier, then those known to pass by their latency, then the likeliest."""

        def rank(candidate: Candidate) -> tuple[int, bool, float]:
            proof = self._records.find(key_of(candidate, self._source))
            is_known = proof is not None and proof.verdict == "passed"
            return candidate.tier, not is_known, proof.latency_ms if proof is not None and is_known else 0.0

        return sorted(self._candidates, key=rank)

    def is_settled_before(self, candidate: Candidate) -> bool:
        """Whether nothing that follows could be taken."""
        if self._options.strict and self._refused:
            return True
        if self._source.bundle is None and any(
            isinstance(error, ArtifactError) for _, error in self._refused
        ):
            return True  # it is the file that is wrong, whoever reads it
        if self._best is None:
            return False
        best, _, proof = self._best
        return candidate.tier > best.tier or proof is None

    def consider(self, candidate: Candidate) -> None:
        """Load a candidate that may be the best, prove it where that was not done, and keep it if it is."""
        key = key_of(candidate, self._source)
        proof = self._records.find(key)
        if candidate.problem is not None and not self._may_rebuild(candidate):
            self._refuse(candidate, candidate.problem)
            return
        if proof is not None and proof.verdict == "refused" and not self._may_rebuild(candidate):
            self._refuse(candidate, ParityError(f"{candidate.label} {proof.problem}"))
            return
        if proof is not None and not self._beats(proof):
            self._beaten.append(proof)
            return
        try:
            loaded = self._load_and_prove(candidate, proof)
        except SaliencyError as error:
            self._refuse(candidate, error)
            return
        if loaded is not None:
            if self._best is not None:
                _, slower, slower_proof = self._best
                slower.close()
                self._beaten += [slower_proof] if slower_proof is not None else []
            self._best = loaded

    def result(self) -> Model:
        """Say what was chosen, and return it.

        Raises:
            SaliencyError: nothing passes.
        """
        failure = self._failure()
        if self._best is None and not self._options.must_pass:
            self._best = self._first_refused()
        if self._best is None or (self._options.strict and failure is not None):
            if self._best is not None:
                self._best[1].close()
            raise failure or UsageError(_nothing_runs(self._source, self._options))
        candidate, model, proof = self._best
        refused = [(other, error) for other, error in self._refused if other.expected]
        if refused:
            self._options.say(
                f"{_refusals(refused)}. {candidate.title} runs {candidate.file.name} in its place"
            )
        if candidate.tier in (CPU_TIER, EXACT_TIER) and find_gpu() is not None:
            self._options.say(
                f"{model.description}: the GPU stays unused. "
                "Install onnxruntime-gpu for the CUDA version here, or see saliency-doctor"
            )
        if isinstance(model, CachingModel) and self._options.keep_records:
            model.keep()
        if proof is not None:
            self._options.inform(_choice_line(model, proof, self._beaten))
        return model

    def _first_refused(self) -> tuple[Candidate, Model, None] | None:
        """Load what differs from PyTorch, all the same; None where nothing runs at all."""
        for candidate, error in self._refused:
            if isinstance(error, ParityError):
                backend = self._backends[candidate.backend]
                return candidate, backend.load(self._source, candidate, self._options), None
        return None

    def _load_and_prove(
        self, candidate: Candidate, proof: Proof | None
    ) -> tuple[Candidate, Model, Proof | None] | None:
        """Load a candidate; None where the best so far is faster.

        Raises:
            SaliencyError: it cannot be loaded, or its maps are not PyTorch's.
        """
        options, backend = self._options, self._backends[candidate.backend]
        try:
            if candidate.problem is not None:
                raise candidate.problem
            model = backend.load(self._source, candidate, options)
            _check_manifest(self._source, model)
            key = key_of(candidate, self._source)
            if (proof is not None and proof.verdict == "passed") or key is None:
                return candidate, model, proof
            report = self._prove(candidate, model, key)
        except (ArtifactError, ParityError) as error:
            if not self._may_rebuild(candidate):
                raise
            options.say(str(error))
            assert candidate.rebuild is not None
            rebuilt = replace(candidate.rebuild(options.say), rebuild=None)
            return self._load_and_prove(rebuilt, None)
        return (candidate, model, report) if report is not None else None

    def _prove(self, candidate: Candidate, model: Model, key: str) -> Proof | None:
        """Make the golden check and keep what it found; None where the best so far is faster."""
        bundle = self._source.bundle
        assert bundle is not None
        best_ms = (
            self._best[2].latency_ms if self._best is not None and self._best[2] is not None else math.inf
        )
        compared = [item for item in self._candidates if item.tier == candidate.tier and item.problem is None]
        if not self._said_once and len(compared) > 1:
            self._said_once = True
            self._options.inform(
                "comparing what runs this bundle here with PyTorch's maps, once on this machine"
            )
        try:
            report = check_golden(
                model,
                bundle.golden_file(),
                promises=promises_of(self._source, candidate),
                time_s=_TIMED_FIRST_S,
                give_up_ms=_TIMES_SLOWER * best_ms,
            )
            if report is None:
                proof = Proof(
                    key=key, label=candidate.label, verdict="slower", latency_ms=_TIMES_SLOWER * best_ms
                )
            else:
                proof = Proof.of(key, candidate.label, report)
            if self._options.keep_records:
                self._records.add(proof)
            if report is not None:
                report.check()
        except BaseException:
            model.close()
            raise
        if report is None or not self._beats(proof):
            model.close()
            self._beaten.append(proof)
            return None
        return proof

    def _beats(self, proof: Proof) -> bool:
        if self._best is None:
            return True
        best = self._best[2]
        return best is not None and proof.latency_ms < best.latency_ms

    def _may_rebuild(self, candidate: Candidate) -> bool:
        can = self._options.rebuild and candidate.rebuild is not None
        return can and (candidate.problem is None or isinstance(candidate.problem, ArtifactError))

    def _refuse(self, candidate: Candidate, error: SaliencyError) -> None:
        self._refused.append((candidate, error))

    def _failure(self) -> SaliencyError | None:
        """What to raise where nothing passes: the reasons of those that were expected to, or else of all."""
        expected = [item for item in self._refused if item[0].expected]
        refused = expected or [item for item in self._refused if item[0].tier >= CPU_TIER] or self._refused
        if not refused:
            return None
        errors = [error for _, error in refused]
        parity = next((error for error in errors if isinstance(error, ParityError | BuildError)), None)
        if parity is not None:
            return parity
        messages = list(dict.fromkeys(map(str, errors)))
        return type(errors[0])("; ".join(messages[:_MOST_NAMED]))


def _asked_backends(options: LoadOptions) -> dict[str, Backend]:
    """Narrow the backends to the one that is asked for.

    Raises:
        UsageError: there is no such backend.
    """
    known = backends()
    if options.backend == AUTO:
        return known
    if options.backend not in known:
        raise UsageError(f"--backend {options.backend}: expected one of {', '.join([AUTO, *known])}")
    return {options.backend: known[options.backend]}


def _check_manifest(source: ModelSource, model: Model) -> None:
    """Close a model that is not what its bundle's manifest says.

    Raises:
        ContractError: it is not.
    """
    try:
        if source.bundle is not None:
            source.bundle.check_contract(model.contract)
    except SaliencyError:
        model.close()
        raise


def _probe(source: ModelSource, asked: dict[str, Backend], options: LoadOptions) -> list[Candidate]:
    """Ask all backends; the likeliest candidate of a tier comes first.

    With `strict` only what runs on a GPU is listed: of a bundle its TensorRT engines.
    """
    names = list(asked)
    if options.strict and options.backend == AUTO:
        wanted = TensorRtBackend.name if source.file is None else None
        names = [name for name in names if name != OpenVinoBackend.name and wanted in (None, name)]
    if source.bundle is None:  # nothing proves it here: the one that the export has judged it in comes first
        names.sort(key=lambda name: name != OnnxRuntimeBackend.name)
    found = [candidate for name in names for candidate in asked[name].probe(source, options)]
    if not found:
        raise UsageError(_nothing_runs(source, options))
    if source.bundle is not None:
        found.sort(key=lambda candidate: _INT8_FIRST.index(candidate.precision))
        found.sort(key=lambda candidate: names.index(candidate.backend))
    return found


@contextmanager
def _open(path: Path, precision: Precision | None) -> Iterator[ModelSource]:
    """Find out what the user's MODEL is, and keep its bundle open for the block.

    Raises:
        ArtifactError: it is missing, empty, a pickle, or no bundle.
        UsageError: the bundle has no model of that precision.
    """
    path = find_model(path)
    if not path.exists():
        raise ArtifactError(
            f"no such model: {path}. Give a bundle of saliency-export, or the name of one that ships: "
            f"{', '.join(ready_names())}"
        )
    if path.is_dir() or path.suffix == ".zip":
        if path.is_dir() and not (path / MANIFEST_NAME).is_file():
            raise ArtifactError(
                f"{path} is no bundle: it holds no {MANIFEST_NAME}. Make one with saliency-export"
            )
        with Bundle.open(path) as bundle:
            asked = (bundle.precision_or_default(precision),) if precision else tuple(bundle.models)
            yield ModelSource(path=path, bundle=bundle, precisions=asked)
        return
    refuse_pickle(path)
    if path.stat().st_size == 0:
        raise ArtifactError(f"{path} is empty. Make it again with saliency-export")
    folder = bundle_around(path)
    if folder is None:
        yield ModelSource(path=path, file=path)
        return
    with Bundle.open(folder) as bundle:
        own = tuple(key for key, model in bundle.models.items() if model.path.name == path.name)
        is_of_bundle = bool(own) or path.suffix == ".engine"
        yield ModelSource(path=path, file=path, bundle=bundle if is_of_bundle else None, precisions=own)


def bundle_around(file: Path) -> Path | None:
    """Find the bundle that an engine or an ONNX file lies in; None where it lies elsewhere."""
    if file.suffix == ".engine":
        return bundle_of(file)
    lies_in_one = file.suffix == ".onnx" and (file.parent / MANIFEST_NAME).is_file()
    return file.parent if lies_in_one else None


def _nothing_runs(source: ModelSource, options: LoadOptions) -> str:
    if options.backend != AUTO:
        return f"{options.backend} cannot run {source.path}. Try --backend auto"
    known = sorted({suffix for backend in backends().values() for suffix in backend.suffixes}, reverse=True)
    known.sort(key=lambda suffix: suffix not in (".onnx", ".engine"))
    return f"cannot run {source.path}: expected a bundle (folder or .zip) or a file in {', '.join(known)}"


def _refusals(refused: Sequence[tuple[Candidate, SaliencyError]]) -> str:
    """Say in a line what was refused: each reason once, that maps differ once for each precision."""
    reasons: dict[str, str] = {}
    also: dict[str, list[str]] = {}
    for candidate, error in refused:
        text = str(error).partition(". Try another")[0]
        key = str(candidate.precision) if isinstance(error, ParityError) else text
        if reasons.setdefault(key, text) is not text:
            also.setdefault(key, []).append(candidate.label)
    return "; ".join(
        text + (f" (and so {', '.join(also[key])})" if key in also and key != text else "")
        for key, text in reasons.items()
    )


def _choice_line(model: Model, proof: Proof, beaten: Sequence[Proof]) -> str:
    """Say which was taken, how fast, how exact, and what it was faster than."""
    passed = sorted(
        (other for other in beaten if other.verdict == "passed"), key=lambda each: each.latency_ms
    )
    others = [f"{other.label} {other.latency_ms:.3g} ms" for other in passed]
    others += [f"{other.label}" for other in beaten if other.verdict == "slower"]
    faster = f", faster than {', '.join(others[:_MOST_NAMED])}" if others else ""
    exact = f", CC {proof.cc:.5f} with PyTorch" if proof.cc is not None else ""
    return f"{model.description}: {proof.latency_ms:.3g} ms a frame{exact}{faster}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """What the golden check has found about one candidate.

    Attributes:
        label: backend, precision and arithmetic.
        report: of the golden check; None where it could not be run.
        problem: why it is not taken; None where it passes.
        expected: whether it would be expected to run here.
        tier: candidates of a later tier are taken only where none of an earlier one passes.
    """

    label: str
    report: GoldenReport | None
    problem: str | None
    expected: bool
    tier: int

    @property
    def passed(self) -> bool:
        """Whether it may run here."""
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """All candidates of a model on this machine.

    Attributes:
        model: as the user names it.
        rows: at least one.
        strict: whether everything that is expected to run must pass.
    """

    model: str
    rows: Sequence[BackendRow]
    strict: bool

    @property
    def chosen(self) -> BackendRow | None:
        """The fastest that passes, which a run takes; None where none does."""
        passed = [row for row in self.rows if row.passed and row.report is not None]
        return min(
            passed, key=lambda row: (row.tier, row.report.latency_ms if row.report else 0), default=None
        )

    def check(self) -> None:
        """Raise the verdict.

        Raises:
            ParityError: nothing passes, or something is refused where `strict` forbids it.
        """
        refused = [row for row in self.rows if not row.passed]
        expected = [row for row in refused if row.expected]
        if self.chosen is not None and not (self.strict and expected):
            return
        measured = [row for row in expected if row.report is not None]
        shown = measured[:1] or expected or [row for row in refused if row.tier == CPU_TIER] or refused
        reasons = list(dict.fromkeys(str(row.problem) for row in shown))
        raise ParityError("; ".join(reasons[:_MOST_NAMED]))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        rows = [
            {
                "candidate": row.label,
                "passed": row.passed,
                "problem": row.problem,
                **(
                    {
                        "model": row.report.model,
                        "latency_ms": row.report.latency_ms,
                        "max_abs": row.report.max_abs,
                        "cc": row.report.cc,
                        "kldiv": row.report.kldiv,
                        "frames": [asdict(frame) for frame in row.report.frames],
                    }
                    if row.report
                    else {}
                ),
            }
            for row in self.rows
        ]
        return {"model": self.model, "chosen": self.chosen.label if self.chosen else None, "candidates": rows}

    def to_text(self) -> str:
        """Format as a table; below it stands why something is not taken."""
        lines = [f"{'candidate':26}{'ms':>9}{'max abs':>10}{'CC':>11}{'KLDiv':>10}  verdict"]
        for row in self.rows:
            report = row.report
            figures = " " * 40
            if report is not None:
                figures = (
                    f"{report.latency_ms:9.2f}{report.max_abs:10.2g}{report.cc:11.6f}{report.kldiv:10.2g}"
                )
            is_not_run = report is None and not row.passed
            verdict = "passes" if row.passed else "not run" if is_not_run else "refused"
            lines.append(f"{row.label:26}{figures}  {verdict}{', taken' if row is self.chosen else ''}")
        reasons = dict.fromkeys(row.problem for row in self.rows if row.problem is not None)
        return "\n".join([*lines, *([""] if reasons else []), *(f"{reason}" for reason in reasons)])


def check_model(
    path: Path, precision: Precision | None = None, options: LoadOptions = DEFAULTS
) -> BackendReport:
    """Prove every candidate of a model on this machine, whatever the records say, and keep what is found.

    Args:
        path: a bundle, or an engine or `.onnx` inside one.
        precision: as for `load_model`.
        options: as there.

    Raises:
        UsageError: the model lies in no bundle.
        SaliencyError: it is missing or damaged.
    """
    with _open(path, precision) as source:
        if source.bundle is None:
            raise UsageError(f"{path} lies in no bundle, and golden frames do. Give the bundle to --check")
        golden, records = source.bundle.golden_file(), Records(source)
        known = _asked_backends(options)
        candidates = _probe(source, known, options)
        if options.backend == AUTO and not options.strict and source.file is None:
            listed = {candidate.backend for candidate in candidates}
            for name, backend in known.items():
                if name not in listed:
                    candidates += backend.probe(source, replace(options, backend=name))
        rows = []
        for candidate in candidates:
            row, proof = _checked(candidate, source, known[candidate.backend], golden, options)
            rows.append(row)
            if proof is not None and options.keep_records:
                records.add(proof)
    return BackendReport(model=str(path), rows=rows, strict=options.strict)


def _checked(
    candidate: Candidate, source: ModelSource, backend: Backend, golden: Path, options: LoadOptions
) -> tuple[BackendRow, Proof | None]:
    """Prove one candidate; what it raises is what is found."""
    report, problem, proof = None, candidate.problem, None
    if problem is None:
        try:
            with closing(backend.load(source, candidate, options)) as model:
                promises = promises_of(source, candidate)
                report = check_golden(model, golden, promises=promises, time_s=_TIMED_S)
        except BackendError as error:
            problem = error
        except ArtifactError as error:
            if str(golden) in str(error):
                raise
            problem = error
    key = key_of(candidate, source)
    if report is not None and key is not None:
        proof = Proof.of(key, candidate.label, report)
    found = f"{report.model} {report.problem}" if report is not None and report.problem else None
    row = BackendRow(
        label=candidate.label,
        report=report,
        problem=str(problem) if problem is not None else found,
        expected=candidate.expected,
        tier=candidate.tier,
    )
    return row, proof
