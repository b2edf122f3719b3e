"""Losses against NumPy's metrics and hand-computed values."""

import numpy as np
import pytest
import torch

from saliency_edge.runtime.errors import UsageError
from saliency_edge.train import losses, metrics


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    prediction, density = rng.random((2, 3, 12, 16), np.float32)
    return torch.from_numpy(prediction), torch.from_numpy(density / density.max(axis=(1, 2), keepdims=True))


def test_kld_and_cc_agree_with_the_metrics(maps):
    prediction, density = maps
    pairs = list(zip(prediction.numpy(), density.numpy(), strict=True))
    kldiv, cc = (np.mean([metric(p, q) for p, q in pairs]) for metric in (metrics.kldiv, metrics.cc))
    assert losses.kld(*maps).item() == pytest.approx(kldiv, abs=2e-4)  # float32's epsilon against float64's
    assert 1 - losses.cc(*maps).item() == pytest.approx(cc, abs=1e-5)


def test_nss_is_the_standardised_value_where_people_look():
    prediction = torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])
    density = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    assert losses.nss(prediction, density).item() == pytest.approx(-1.0)  # (2 - 1) / 1


def test_mlnet_loss_squares_the_numerator_alone():
    prediction = torch.tensor([[[2.0, 1.0]]])
    density = torch.tensor([[[1.0, 0.0]]])
    # p / max p = (1, .5); (1 - 1)^2 / .1 = 0; (.5 - 0)^2 / 1.1
    assert losses.mlnet(prediction, density).item() == pytest.approx(0.25 / 1.1 / 2)


def test_mlnet_loss_regularises_the_prior_by_the_number_of_cells():
    density = torch.ones(1, 2, 3)
    prior = torch.full((1, 1, 3, 4), 0.5)
    loss = losses.parse_loss("mlnet")
    assert (loss(density, density, prior) - loss(density, density)).item() == pytest.approx(12 * 0.25 / 6)


@pytest.mark.parametrize("name", losses.TERMS)
def test_a_map_of_zeros_gives_a_finite_loss_and_gradient(name):
    prediction = torch.zeros(2, 6, 8, requires_grad=True)
    losses.parse_loss(name)(prediction, torch.rand(2, 6, 8)).backward()
    assert torch.isfinite(prediction.grad).all()


def test_weighted_sums_add_up(maps):
    total = losses.parse_loss("kld+0.1*cc + 2*mse")(*maps)
    expected = losses.kld(*maps) + 0.1 * losses.cc(*maps) + 2 * losses.mse(*maps)
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("text", ["", "kl", "kld+", "-1*cc", "kld*2", "0.1cc"])
def test_what_is_no_loss_is_refused(text):
    with pytest.raises(UsageError, match="the term"):
        losses.parse_loss(text)


def test_nss_on_points_is_the_metric_and_other_terms_keep_the_density():
    prediction, density = torch.rand(1, 6, 8), torch.rand(1, 6, 8)
    points = torch.zeros(1, 6, 8)
    points[0, 2, 3], points[0, 5, 7] = 1.0, 0.5
    map_ = prediction[0].numpy()
    expected = [(map_[y, x] - map_.mean()) / map_.std() for y, x in ((2, 3), (2, 3), (5, 7))]
    found = losses.parse_loss("nss")(prediction, density, points=points)
    assert float(found) == pytest.approx(-sum(expected) / 3, rel=1e-5)
    kld = losses.parse_loss("kld")
    assert kld(prediction, density, points=points) == kld(prediction, density)
