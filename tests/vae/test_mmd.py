"""MMD against loops, and against its closed form for Gaussians."""

import math

import pytest
import torch

from ecmvae.vae.mmd import SCALES, mmd


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_against_loops_over_pairs(kernel):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (6, 5))

    def k(a, b):
        squared, width = math.dist(a.tolist(), b.tolist()) ** 2, 2 * 3
        if kernel == "rbf":
            return math.exp(-squared / width)
        return sum(s * width / (s * width + squared) for s in SCALES)

    within_x = sum(k(x[i], x[j]) for i in range(6) for j in range(6) if i != j) / 30
    within_y = sum(k(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(k(a, b) for a in x for b in y) / 30
    assert mmd(x, y, kernel).item() == pytest.approx(within_x + within_y - 2 * across, abs=1e-12)


def test_closed_form_of_two_gaussians_and_no_bias():
    """Under the RBF kernel exp(-d^2 / 2w), E k of N(0, 2) + m is sqrt(w / (w + 2)) exp(-m^2 / (2 (w + 2))), w = L."""
    generator = torch.Generator().manual_seed(1)
    estimates = [
        mmd(
            torch.randn(50, 1, generator=generator),
            1.5 + torch.randn(40, 1, generator=generator),
            "rbf",
        )
        for _ in range(400)
    ]
    expected = 2 * math.sqrt(1 / 3) * (1 - math.exp(-(1.5**2) / 6))
    found = torch.stack(estimates)
    assert found.mean().item() == pytest.approx(expected, abs=4 * found.std().item() / 20)
    same = torch.stack([mmd(torch.randn(30, 2), torch.randn(30, 2)) for _ in range(300)])
    assert abs(same.mean().item()) < 4 * same.std().item() / math.sqrt(300)


def test_gradients_are_finite_where_samples_coincide():
    x = torch.zeros(3, 2, requires_grad=True)
    mmd(x, torch.randn(3, 2)).backward()
    assert torch.isfinite(x.grad).all()


def test_bad_input_says_what_to_do():
    with pytest.raises(ValueError, match="at least 2 samples"):
        mmd(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="choose from imq, rbf"):
        mmd(torch.zeros(2, 2), torch.zeros(3, 2), "linear")
