"""Rows of document 004: PCA, divergences, evaluation, outliers, debiasing, latent spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae.classic import KMeansModel, PrincipalComponents
from ecmvae.vae.divergences import discrete_js
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latent_space import manifold_grid
from ecmvae.vae.linear import linear_autoencoder
from ecmvae.vae.metrics import bound_report, frechet_distance, inception_score, perplexity
from ecmvae.vae.outliers import memorisation_check
from ecmvae.vae.plots import image_canvas
from ecmvae.vae.zoo import ModelSettings

from .shared import ROOT, decode, digits, double, known, row, trained, vae


@row(93, "004", "PCA of A to E: codes -.63 -.39 .09 .41 .53", "vae/classic.py")
def _() -> None:
    case = known("seed_tables")["pca"]
    points = np.array(list(case["points"].values()))
    model = PrincipalComponents(1).fit(points)
    sign = np.sign(model.estimator.components_[0, 0])
    np.testing.assert_allclose(
        sign * model.encode(points)[:, 0], [-0.63, -0.39, 0.09, 0.41, 0.53], atol=0.005
    )
    np.testing.assert_allclose(
        model.decode(model.encode(points)), case["printed_decoded"], atol=0.005
    )


@row(94, "004", "a linear autoencoder finds PCA's subspace", "vae/linear.py")
def _() -> None:
    case = known("ppca")
    x = double(case["X"])
    x = x - x.mean(0)
    model = linear_autoencoder(6, 2).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((model.decode(model.encode(x)) - x) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() == pytest.approx(case["linear_ae_optimal_mse_per_element"], abs=1e-3)


@row(95, "004", "k-means: the nearest centre is the latent", "vae/classic.py")
def _() -> None:
    x = np.random.default_rng(0).normal(size=(90, 2)) + np.repeat([[0, 0], [6, 0], [0, 6]], 30, 0)
    model = KMeansModel(3).fit(x)
    distances = np.linalg.norm(x[:, None] - model.estimator.cluster_centers_[None], axis=-1)
    assert np.array_equal(model.assign(x), distances.argmin(1))
    assert model.inertia == pytest.approx((distances.min(1) ** 2).sum(), rel=1e-9)


@row(98, "004", "inception score: exp E KL(p(y|x) || p(y))", "vae/metrics.py")
def _() -> None:
    for case in known("frechet_inception")["inception_score"]:
        assert inception_score(double(case["p"])).item() == pytest.approx(case["IS"], abs=1e-7)


@row(99, "004", "FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)", "vae/metrics.py")
def _() -> None:
    for case in known("frechet_inception")["frechet"]:
        found = frechet_distance(*(double(case[name]) for name in ("m1", "S1", "m2", "S2"))).item()
        assert found == pytest.approx(case["fid"], abs=max(1e-6, case.get("tol", 0)))


@row(100, "004", "test log-likelihood, perplexity", "vae/metrics.py")
def _() -> None:
    assert perplexity(torch.full((20,), -math.log(50.0))).item() == pytest.approx(50.0, rel=1e-5)
    report = bound_report(vae(8), digits().test_images, num_samples=20)
    assert report["negative_iwae_20"] < report["negative_elbo"]


@row(101, "004", "JS = KL(p || m) / 2 + KL(q || m) / 2, between 0 and ln 2", "vae/divergences.py")
def _() -> None:
    p, q = double([0.7, 0.2, 0.1]), double([0.1, 0.3, 0.6])
    mixture = (p + q) / 2
    expected = 0.5 * stats.entropy(p.numpy(), mixture.numpy()) + 0.5 * stats.entropy(
        q.numpy(), mixture.numpy()
    )
    assert (
        discrete_js(p, q).item() == discrete_js(q, p).item() == pytest.approx(expected, abs=1e-12)
    )
    assert discrete_js(double([1.0, 0.0]), double([0.0, 1.0])).item() == pytest.approx(
        math.log(2), abs=1e-12
    )
    far = [DiagonalGaussian(double([m]), double([0.0])) for m in (0.0, 40.0)]
    assert far[0].js(far[1], 50).item() == pytest.approx(math.log(2), abs=1e-9)


@row(
    102,
    "004",
    "traits of VAEs: sampling yes, quality no, coverage ?, latents yes, likelihood no",
    "vae/metrics.py",
)
def _() -> None:
    page = (ROOT / "docs" / "vae.md").read_text()
    assert "GANs" in page
    assert "diffusion" in page  # the table of four families, VAEs' row measured in the gallery
    with torch.no_grad():
        samples = vae(8).sample(297, torch.Generator().manual_seed(0)).flatten(1)
    real, train = digits().test_images.flatten(1), digits().train_images.flatten(1)
    moments = [
        (each.double().mean(0), torch.cov(each.double().T)) for each in (real, samples, train)
    ]
    distance = [frechet_distance(*moments[0], *each).item() for each in moments[1:]]
    # quality: samples are further from test digits than training digits are
    assert distance[0] > 2 * distance[1]
    report = bound_report(vae(8), digits().test_images, num_samples=20)
    # a bound, no likelihood
    assert report["negative_iwae_20"] != pytest.approx(report["negative_elbo"], abs=0.1)


@row(103, "004", "the extreme case: a decoder that memorised its data", "vae/outliers.py")
def _() -> None:
    ten = digits().train_images[:10]
    settings = ModelSettings(name="vae", hidden=64, latent_dim=4, beta=0.05)
    model = trained(settings, 200, ten)
    with torch.no_grad():
        copies = decode(
            model, model.encode(ten).rsample(10, torch.Generator().manual_seed(0)).flatten(0, 1)
        )
    check = memorisation_check(copies, ten, digits().test_images)
    assert check.nearer_share > 0.99
    assert check.sample_distance < 0.5 * check.test_distance


@row(104, "004", "the latent manifold as one picture", "vae/latent_space.py")
def _() -> None:
    case = known("mog_nonlinear_manifold")["manifold_grid_inverse_cdf"]
    grid = manifold_grid(10)
    np.testing.assert_allclose(grid[:, 0, 0].numpy(), case["z"], atol=1e-12)
    images = decode(vae(), grid.reshape(100, 2).float()).reshape(10, 10, 1, 8, 8)
    assert image_canvas(images, gap=0).shape == (1, 80, 80)
    across = (images[:, 1:] - images[:, :-1]).abs().mean()
    assert across < (images[:, 5:] - images[:, :-5]).abs().mean()  # neighbours are more alike
