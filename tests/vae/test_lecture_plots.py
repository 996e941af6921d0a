"""The lectures' figures show the numbers they are given; `test_lectures.py` holds their formulas."""

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae import lecture_plots as lectures
from ecmvae.vae.plots import figure


@pytest.mark.parametrize("scale", [1.0, 1.15, 1.4])
def test_p_values_of_uniformity_against_scipy(scale):
    codes = scale * torch.randn(200, 3, dtype=torch.float64)
    expected = [stats.kstest(column, "norm").pvalue for column in codes.numpy().T]
    np.testing.assert_allclose(lectures.uniformity_p_values(codes).numpy(), expected, atol=0.02)


def test_mixture_figure_draws_both_densities():
    weights, means, stds = (torch.tensor(v).double() for v in ((0.6, 0.4), (-1.0, 2.0), (0.5, 1.0)))
    x = torch.linspace(-5, 7, 300).double()
    left, right, _ = lectures.mixture_figure(weights, means, stds, x).axes
    expected = 0.6 * stats.norm.pdf(x, -1, 0.5) + 0.4 * stats.norm.pdf(x, 2, 1)
    np.testing.assert_allclose(left.lines[0].get_ydata(), expected, atol=1e-12)
    np.testing.assert_allclose(right.images[0].get_array().sum(0), expected, atol=1e-12)


def test_the_posterior_of_one_weight_is_the_exact_one():
    model, phi = lectures.OneWeightModel(1.5, 0.3), 0.8
    q = model.posterior(phi)
    z = np.linspace(-8, 8, 8001)
    joint = stats.norm.pdf(z) * stats.norm.pdf(1.5, phi * z, np.sqrt(0.3))
    mean = np.trapezoid(z * joint, z) / np.trapezoid(joint, z)
    variance = np.trapezoid((z - mean) ** 2 * joint, z) / np.trapezoid(joint, z)
    assert q.mean.item() == pytest.approx(mean, abs=1e-9)
    assert q.variance.item() == pytest.approx(variance, abs=1e-9)
    grid = torch.linspace(0.1, 3, 3000, dtype=torch.float64)
    assert model.best_phi(q) == pytest.approx(grid[model.elbo(grid, q).argmax()].item(), abs=1e-3)


def test_notes_of_known_clouds():
    far = torch.cat([0.1 * torch.randn(300, 2) + 5, torch.randn(300, 2)])
    notes = lectures.code_notes(far, torch.arange(600) // 300, torch.full((10, 2), -20.0))
    assert notes.area_ratio == pytest.approx(100, rel=0.3)
    assert notes.offset == pytest.approx(2.5 * 2**0.5, rel=0.1)
    assert notes.extent == far.abs().max().item()
    assert notes.gap_share == 1.0
    assert lectures.code_notes(far, torch.arange(600) // 300, far[:50]).gap_share == 0.0


def test_every_class_has_its_colour_and_name():
    codes, labels = torch.randn(40, 2), torch.arange(40) % 2
    drawn = lectures.class_p_values(figure()[1], codes, labels, names=("shirt", "boot"))
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["shirt", "boot"]
    expected = stats.norm.cdf(codes[labels == 1].numpy())
    np.testing.assert_allclose(drawn.collections[1].get_offsets(), expected, atol=1e-6)


def test_a_canvas_as_a_picture():
    canvas = torch.rand(3, 4, 6)
    np.testing.assert_array_equal(
        lectures.as_picture(canvas), (canvas.movedim(0, -1) * 255).round().byte().numpy()
    )
    assert lectures.as_picture(canvas[:1]).mode == "L"
