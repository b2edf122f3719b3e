"""Evaluation of a real ONNX model on tiny datasets, and the known figures of the teachers on real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from typer.testing import CliRunner

from dataset_files import save_map
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract, Fit
from saliency_edge.runtime.errors import ArtifactError, InputError, UsageError
from saliency_edge.runtime.fit import resize
from saliency_edge.train import metrics
from saliency_edge.train.datasets import read_dataset, read_photo
from saliency_edge.train.datasets.sample import Dataset, Sample
from saliency_edge.train.evaluate import (
    METRICS,
    MODEL,
    OBSERVERS,
    PRIOR,
    Evaluation,
    EvaluationConfig,
    PredictMap,
    evaluate,
    predictor_of,
    truth_map,
)
from saliency_edge.train.evaluate_cli import app

INPUT_HW = (24, 32)
STIMULUS_HW = (48, 64)
ON_MAPS, ON_FIXATIONS = METRICS[:3], METRICS[3:]


def _quietly(samples: Sequence[Sample], _unit: str) -> Iterable[Sample]:
    return samples


def _save_model(path: Path, *, fit: Fit = "stretch", batch: int = 1, divisor: float = 255.0) -> Path:
    """Write an ONNX model whose saliency is the frame's mean over the colours, divided."""
    contract = Contract(
        network="grey",
        precision="fp32",
        size_hw=INPUT_HW,
        map_size_hw=INPUT_HW,
        batch=(batch, batch),
        fit=fit,
        weights_sha256="0" * 64,
    )
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "divisor"], [OUTPUT_NAME]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [3]),
        helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor]),
    ]
    frame = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [batch, *INPUT_HW, 3])
    saliency = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [batch, *INPUT_HW])
    graph = helper.make_graph(nodes, "grey", [frame], [saliency], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def spots(tmp_path: Path) -> Path:
    """Photographs with one bright spot each, at which four people look; the fourth is off by some pixels."""
    root = tmp_path / "spots"
    (root / "images").mkdir(parents=True)
    lines = ["image,subject,x,y"]
    for number, (x, y) in enumerate([(12, 12), (50, 14), (20, 36), (48, 38), (33, 24)]):
        picture = np.full((*STIMULUS_HW, 3), 20, np.uint8)
        picture[y - 3 : y + 4, x - 3 : x + 4] = 255
        assert cv2.imwrite(str(root / f"images/{number}.png"), picture)
        lines += [f"{number}.png,{subject},{x + subject // 3 * 4},{y}" for subject in range(4)]
    (root / "fixations.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def maps_only(spots: Path, tmp_path: Path) -> Path:
    """The same photographs with maps of another size, and no fixations."""
    root = tmp_path / "maps_only"
    (spots / "images").rename(tmp_path / "images")
    root.mkdir()
    (tmp_path / "images").rename(root / "images")
    for number in range(5):
        save_map(root / f"maps/{number}.png", (96, 128))
    return root


def _evaluated(root: Path, model: Path, config: EvaluationConfig | None = None) -> Evaluation:
    predict = predictor_of(load_model(model))
    return evaluate(predict, read_dataset(root), config or EvaluationConfig(sigma_px=3), _quietly)


def test_scores_are_the_metrics_of_the_resized_map(spots: Path, tmp_path: Path) -> None:
    sample = read_dataset(spots).samples[0]
    assert sample.fixations is not None
    picture = resize(read_photo(sample.image), INPUT_HW)
    prediction = cv2.resize(picture[..., 0] / 255.0, STIMULUS_HW[::-1], interpolation=cv2.INTER_LINEAR)
    truth = truth_map(sample, EvaluationConfig(sigma_px=3))

    evaluation = _evaluated(spots, _save_model(tmp_path / "grey.onnx"))

    found = dict(zip(METRICS, evaluation.scores[MODEL][0], strict=True))
    assert found["CC"] == pytest.approx(metrics.cc(prediction, truth), abs=1e-6)
    assert found["KLDiv"] == pytest.approx(metrics.kldiv(prediction, truth), abs=1e-4)
    assert found["SIM"] == pytest.approx(metrics.sim(prediction, truth), abs=1e-6)
    assert found["NSS"] == pytest.approx(metrics.nss(prediction, sample.fixations.xy), abs=1e-5)
    assert found["AUC-Judd"] == pytest.approx(metrics.auc_judd(prediction, sample.fixations.xy), abs=1e-3)


def test_a_model_that_sees_the_spot_beats_the_prior(spots: Path, tmp_path: Path) -> None:
    evaluation = _evaluated(spots, _save_model(tmp_path / "grey.onnx"))
    model, prior, observers = (evaluation.estimates(line) for line in (MODEL, PRIOR, OBSERVERS))

    for name in ("CC", "SIM", "NSS", "AUC-Judd", "AUC-Borji", "sAUC", "IG"):
        assert model[name].mean > prior[name].mean, name
        assert observers[name].mean > prior[name].mean, name
    assert model["KLDiv"].mean < prior["KLDiv"].mean
    assert prior["IG"].mean == 0
    assert prior["sAUC"].mean < 0.5  # nobody looks twice at one place, so the others' places are wrong


def test_padding_is_cut_off_again(spots: Path, tmp_path: Path) -> None:
    for path in (spots / "images").iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        assert cv2.imwrite(str(path), cv2.copyMakeBorder(picture, 0, 16, 0, 0, cv2.BORDER_CONSTANT))

    padded = _evaluated(spots, _save_model(tmp_path / "pad.onnx", fit="pad"))
    stretched = _evaluated(spots, _save_model(tmp_path / "stretch.onnx"))

    for evaluation in (padded, stretched):
        assert evaluation.estimates(MODEL)["NSS"].low > 4, evaluation.scores[MODEL]


def test_a_squashed_photograph_is_stretched_to_its_ground_truth(spots: Path, tmp_path: Path) -> None:
    model = _save_model(tmp_path / "pad.onnx", fit="pad")
    whole = _evaluated(spots, model).estimates(MODEL)["CC"].mean
    dataset = read_dataset(spots)
    for sample in dataset:
        assert cv2.imwrite(str(sample.image), cv2.resize(read_photo(sample.image), (48, 48)))

    squashed = evaluate(predictor_of(load_model(model)), dataset, EvaluationConfig(sigma_px=3), _quietly)

    assert squashed.estimates(MODEL)["CC"].mean == pytest.approx(whole, abs=0.03)


def test_fixed_batches_are_filled(spots: Path, tmp_path: Path) -> None:
    single = _evaluated(spots, _save_model(tmp_path / "one.onnx"))
    triple = _evaluated(spots, _save_model(tmp_path / "three.onnx", batch=3))

    np.testing.assert_array_equal(single.scores[MODEL], triple.scores[MODEL])


def test_maps_alone_leave_out_what_needs_fixations(maps_only: Path, tmp_path: Path) -> None:
    evaluation = _evaluated(maps_only, _save_model(tmp_path / "grey.onnx"))

    assert set(evaluation.estimates(MODEL)) == set(ON_MAPS)
    assert evaluation.estimates(OBSERVERS) == {}


def test_one_observer_has_nobody_to_agree_with(spots: Path, tmp_path: Path) -> None:
    table = spots / "fixations.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([lines[0], *lines[1::4]]), encoding="utf-8")

    evaluation = _evaluated(spots, _save_model(tmp_path / "grey.onnx"))

    assert evaluation.estimates(OBSERVERS) == {}
    assert set(evaluation.estimates(MODEL)) == set(METRICS)


def test_everything_drawn_is_seeded(spots: Path, tmp_path: Path) -> None:
    model = _save_model(tmp_path / "grey.onnx")
    first, again, other = (
        _evaluated(spots, model, EvaluationConfig(sigma_px=3, seed=seed)) for seed in (4, 4, 5)
    )

    assert first.estimates(MODEL) == again.estimates(MODEL)
    np.testing.assert_array_equal(first.scores[OBSERVERS], again.scores[OBSERVERS])
    assert first.estimates(MODEL) != other.estimates(MODEL)


def test_interval_is_that_of_the_mean() -> None:
    scores = np.full((400, len(METRICS)), np.nan)
    scores[:300, 0] = np.random.default_rng(0).normal(0.5, 0.1, 300)
    evaluation = Evaluation(names=["x"] * 400, scores={MODEL: scores}, seed=1)

    estimates = evaluation.estimates(MODEL)

    half_width = 1.96 * scores[:300, 0].std() / np.sqrt(300)
    assert set(estimates) == {"CC"}
    assert estimates["CC"].images == 300
    assert estimates["CC"].mean == pytest.approx(scores[:300, 0].mean())
    assert estimates["CC"].high - estimates["CC"].mean == pytest.approx(half_width, rel=0.1)
    assert estimates["CC"].mean - estimates["CC"].low == pytest.approx(half_width, rel=0.1)


def test_a_map_that_is_not_finite_is_refused(spots: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="0: the model's map is not finite"):
        _evaluated(spots, _save_model(tmp_path / "nan.onnx", divisor=0.0))


def test_command_prints_and_writes_the_figures(spots: Path, tmp_path: Path) -> None:
    model, written, names = tmp_path / "grey.onnx", tmp_path / "figures.json", tmp_path / "names.txt"
    _save_model(model)
    names.write_text("0.png\n2\n3\n", encoding="utf-8")
    arguments = [str(model), str(spots), "--names", str(names), "--max-images", "2", "--sigma", "0.1"]

    done = CliRunner().invoke(app, [*arguments, "--pixels-per-degree", "30", "--json", str(written)])

    assert done.exception is None, done.output
    document = json.loads(written.read_text(encoding="utf-8"))
    (figures,) = document["sets"]
    assert list(figures["model_by_image"]) == ["0", "2"]
    assert figures["config"] == {"sigma_px": pytest.approx(3.0), "seed": 0}
    assert list(figures["lines"])[:3] == [MODEL, PRIOR, OBSERVERS]
    assert document["contract"]["network"] == "grey"
    mean = figures["lines"][MODEL]["NSS"]["mean"]
    assert mean == pytest.approx(np.mean([row["NSS"] for row in figures["model_by_image"].values()]))
    table = done.output.splitlines()
    assert f"NSS        {mean:.3f} [" in next(line for line in table if line.startswith("NSS"))
    assert [line.split()[0] for line in table[-len(METRICS) :]] == list(METRICS)


def test_several_sets_have_a_mean(spots: Path, tmp_path: Path) -> None:
    model, written = _save_model(tmp_path / "grey.onnx"), tmp_path / "figures.json"
    shutil.copytree(spots, tmp_path / "twice")

    done = CliRunner().invoke(app, [str(model), str(spots), str(tmp_path / "twice"), "--json", str(written)])

    assert done.exception is None, done.output
    document = json.loads(written.read_text(encoding="utf-8"))
    one, other = (figures["lines"][MODEL]["NSS"]["mean"] for figures in document["sets"])
    assert document["mean over sets"][MODEL]["NSS"]["mean"] == pytest.approx((one + other) / 2)
    assert "mean over 2 sets" in done.output


def test_command_says_what_is_amiss(spots: Path, tmp_path: Path) -> None:
    model = _save_model(tmp_path / "grey.onnx")
    (spots / "images" / "0.png").unlink()

    noted = CliRunner().invoke(app, [str(model), str(spots)])
    refused = CliRunner().invoke(app, [str(model), str(spots), "--strict"])
    degrees = CliRunner().invoke(app, [str(model), str(spots), "--pixels-per-degree", "30"])

    assert "note: 0: no photograph for its ground truth" in noted.stderr
    assert noted.exit_code == 0
    assert isinstance(refused.exception, InputError)
    assert isinstance(degrees.exception, UsageError)


def _teachers(shared_data: Path) -> PredictMap:
    """The mean of the four teachers, each a density; the minimum is taken off the resized mean."""
    files = sorted((shared_data / "teachers" / "glimpse").glob("*.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in files
    ]
    assert len(sessions) == 4

    def predict(sample: Sample) -> NDArray[np.float64]:
        frame_rgb = resize(read_photo(sample.image), (240, 320))[..., ::-1].astype(np.float32) / 255
        planes = np.ascontiguousarray(frame_rgb.transpose(2, 0, 1)[None])
        maps = [session.run(None, {session.get_inputs()[0].name: planes})[0][0, 0] for session in sessions]
        mean = np.mean([metrics.density(one - one.min()) for one in maps], axis=0)
        resized = np.asarray(metrics.resize_map(mean, sample.size_hw or mean.shape), np.float64)
        return resized - resized.min()

    return predict


def _means(predict: PredictMap, dataset: Dataset, sigma_px: float | None = None) -> dict[str, float]:
    evaluation = evaluate(predict, dataset, EvaluationConfig(sigma_px=sigma_px), _quietly)
    return {name: estimate.mean for name, estimate in evaluation.estimates(MODEL).items()}


@pytest.mark.slow
def test_teachers_known_figures_on_salicon(shared_data: Path) -> None:
    dataset = read_dataset(shared_data / "salicon", split="val", strict=True, stretch=True)

    found = _means(_teachers(shared_data), dataset)

    assert len(dataset) == 161
    assert found == pytest.approx({"CC": 0.831, "KLDiv": 0.159, "SIM": 0.796}, abs=6e-4)


@pytest.mark.slow
def test_teachers_known_figures_on_scene500(shared_data: Path) -> None:
    names = [f"{number:03d}" for number in range(5, 501, 5)]
    dataset = read_dataset(shared_data / "scene500", names=names, strict=True)

    found = _means(_teachers(shared_data), dataset, sigma_px=14)

    assert len(dataset) == 100
    assert found["NSS"] == pytest.approx(1.357, abs=6e-4)
    assert found["AUC-Judd"] == pytest.approx(0.824, abs=6e-4)
