"""Rows of document 001: densities, the bound, the VAE, editing, beta and conditional VAEs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from ecmvae.vae import bounds
from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.divergences import discrete_kl
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.fully_connected import VariationalEncoder, lecture_vae, mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latent_space import attribute_direction, edit, recall_at_k, traverse
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.linear import ProbabilisticPCA
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import ModelSettings, codes_of

from .shared import decode, digits, double, known, parameters, row, trained, vae


class LinearGaussian:
    """z ~ N(0, 1), x = w z + noise of variance v, two pixels: p(x) and p(z|x) in closed form."""

    def __init__(self, weight: float = 1.0, variance: float = 0.5) -> None:
        self.weight, self.variance = double([weight, 0.5 * weight]), variance
        self.x = double([1.2, -0.3])
        covariance = torch.outer(self.weight, self.weight) + variance * torch.eye(
            2, dtype=torch.float64
        )
        self.log_p = float(
            stats.multivariate_normal([0, 0], covariance.numpy()).logpdf(self.x.numpy())
        )
        precision = 1 + (self.weight**2).sum() / variance
        self.posterior = DiagonalGaussian(
            (self.x @ self.weight / variance / precision)[None], -precision.log()[None]
        )

    def log_weights(self, q: DiagonalGaussian, count: int) -> torch.Tensor:
        """Log p(x, z) / q(z|x) of draws, (count,)."""
        z = q.rsample(count)
        given = GaussianLikelihood(self.variance).log_prob(
            (z * self.weight)[:, None], self.x[None]
        )[:, 0]
        return (
            given
            + DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z)).log_prob(z)
            - q.log_prob(z)
        )

    def elbo(self, q: DiagonalGaussian) -> float:
        """E_q log p(x|z) - KL(q || p), by hand."""
        error = ((self.x - q.mean * self.weight) ** 2).sum() + (
            self.weight**2
        ).sum() * q.variance.sum()
        given = -math.log(2 * math.pi * self.variance) - 0.5 * error / self.variance
        return float(bounds.elbo(given, q.kl()))


def wrong(q: DiagonalGaussian) -> DiagonalGaussian:
    """Another q."""
    return DiagonalGaussian(q.mean + 0.4, q.logvar + 0.5)


@row(33, "001", "the normal density", "vae/gaussian.py")
def _() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    found = DiagonalGaussian(double([0.5]), double([math.log(4.0)])).log_prob(x[:, None])
    np.testing.assert_allclose(found.exp().numpy(), stats.norm(0.5, 2.0).pdf(x.numpy()), atol=1e-12)


@row(
    34,
    "001",
    "maximum likelihood: the product and the sum of logs have one argmax",
    "vae/linear.py",
)
def _() -> None:
    x = np.array([0.2, 0.9, 0.4])
    grid = np.linspace(-1, 2, 3001)
    density = stats.norm.pdf(x[:, None], grid)
    assert density.prod(0).argmax() == np.log(density).sum(0).argmax()
    assert grid[density.prod(0).argmax()] == pytest.approx(x.mean(), abs=1e-3)
    case = known("ppca")
    data = double(case["X"])
    assert ProbabilisticPCA.fit(data, 2).log_prob(data).mean().item() == pytest.approx(
        case["loglik_mean"], abs=1e-8
    )


@row(
    35,
    "001",
    "KL(p || q) >= 0, 0 for equals, asymmetric, infinite where q misses p",
    "vae/divergences.py",
)
def _() -> None:
    p, q = double([0.7, 0.2, 0.1]), double([0.1, 0.3, 0.6])
    assert discrete_kl(p, p).item() == 0
    assert discrete_kl(p, q).item() == pytest.approx(stats.entropy(p.numpy(), q.numpy()), abs=1e-12)
    assert discrete_kl(p, q).item() != pytest.approx(discrete_kl(q, p).item(), abs=1e-3)
    assert math.isinf(discrete_kl(p, double([0.5, 0.5, 0.0])).item())


@row(36, "001", "p(x) = integral of p(x|z) p(z) dz", "vae/bounds.py")
def _() -> None:
    model = LinearGaussian()
    z = np.linspace(-8, 8, 4001)
    pixels = stats.norm.pdf(
        model.x.numpy(), z[:, None] * model.weight.numpy(), math.sqrt(model.variance)
    ).prod(1)
    assert math.log(np.trapezoid(pixels * stats.norm.pdf(z), z)) == pytest.approx(
        model.log_p, abs=1e-9
    )
    estimate = bounds.iwae(model.log_weights(wrong(model.posterior), 100_000)).item()
    assert estimate == pytest.approx(model.log_p, abs=0.01)


@row(37, "001", "log p(x) = ELBO + KL(q || p(z|x))", "vae/bounds.py")
def _() -> None:
    model = LinearGaussian()
    q = wrong(model.posterior)
    assert model.elbo(q) + q.kl(model.posterior).item() == pytest.approx(model.log_p, abs=1e-9)


@row(38, "001", "KL of two Gaussians in closed form", "vae/gaussian.py")
def _() -> None:
    for case in known("kl_gaussian")["cases"]:
        q = DiagonalGaussian(double(case["mu_q"]), double(case["logvar_q"]))
        normals = (torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(0.0, 1.0))
        expected = torch.distributions.kl_divergence(*normals).sum().item()
        assert q.kl().item() == pytest.approx(expected, rel=1e-10)


@row(39, "001", "two codes for the KL, who is right?", "vae/gaussian.py")
def _() -> None:
    sigma = torch.linspace(0.2, 2.0, 1801, dtype=torch.float64)
    ours = DiagonalGaussian(torch.zeros(1801, 1).double(), 2 * sigma.log()[:, None]).kl()
    page = sigma**2 - sigma.log() - 0.5  # the demo page's
    assert sigma[ours.argmin()].item() == pytest.approx(1.0, abs=1e-3)
    assert ours.min().item() == pytest.approx(0.0, abs=1e-6)
    # not where q is the prior
    assert sigma[page.argmin()].item() == pytest.approx(math.sqrt(0.5), abs=1e-3)


@row(
    40,
    "001",
    "the encoder in PyTorch: linear1, mu_layer, logvar_layer; 784-512-L",
    "vae/fully_connected.py",
)
def _() -> None:
    encoder = VariationalEncoder(2)
    assert {name.split(".")[0] for name in encoder.state_dict()} == {
        "linear1",
        "mu_layer",
        "logvar_layer",
    }
    assert (parameters(encoder), parameters(VariationalEncoder(20))) == (403_972, 422_440)
    z, mu, logvar = encoder(torch.rand(3, 1, 28, 28))
    assert z.shape == mu.shape == logvar.shape == (3, 2)
    assert lecture_vae()(torch.rand(3, 784)).loss.isfinite()


@row(41, "001", "generating data: sample z, decode, sample x", "vae/likelihoods.py")
def _() -> None:
    model = vae(8)
    with torch.no_grad():
        z = model.prior.sample(2000, torch.empty(0), torch.Generator().manual_seed(0))
        logits = model.decode(z)
        x = model.sample(2000, torch.Generator().manual_seed(0), draw=True)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(x.mean(0), logits.sigmoid().mean(0), rtol=0, atol=0.05)


@row(43, "001", "varying z1 and z2: a grid of pictures", "vae/latent_space.py")
def _() -> None:
    code = codes_of(vae(8), {"x": digits().test_images[:1]})[0]
    grid = traverse(code, (0, 1), torch.linspace(-3, 3, 7))
    images = decode(vae(8), grid.flatten(0, 1)).unflatten(0, (7, 7))
    assert (grid[..., 2:] == code[2:]).all()
    assert (images[0] - images[-1]).abs().mean() > 0.01
    assert (images[:, 0] - images[:, -1]).abs().mean() > 0.01


@row(45, "001", "a diagonal prior: latent variables are independent", "vae/priors.py")
def _() -> None:
    drawn = vae(8).prior.sample(20_000, torch.empty(0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cov(drawn.T), torch.eye(8), rtol=0, atol=0.05)
    with torch.no_grad():
        codes = (
            vae(8).encode(digits().train_images).rsample(generator=torch.Generator().manual_seed(0))
        )
    off = torch.corrcoef(codes.T)[~torch.eye(8, dtype=torch.bool)]
    assert off.abs().mean() < 0.2  # the KL asks it of the codes


@row(47, "001", "z_new = z_orig + alpha z_diff", "vae/latent_space.py")
def _() -> None:
    case = known("latent_ops")["arithmetic"]
    direction = attribute_direction(double(case["pos"]), double(case["neg"]))
    assert (double(case["z"]) + case["alpha"] * direction).tolist() == case["out"]


@row(48, "001", "editing in five steps", "vae/latent_space.py")
def _() -> None:
    x = digits().test_images[:4]
    done = edit(vae(8), x, lambda z: z + 0.5, sample=True)
    torch.testing.assert_close(done.edited, done.z + 0.5)
    torch.testing.assert_close(done.parameters, vae(8).decode(done.edited))
    assert set(done.images.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(done.posterior.mean, vae(8).encode(x).mean)


@row(49, "001", "beta-VAE: E log p(x|z) - beta KL", "vae/vae.py")
def _() -> None:
    losses = []
    for beta in (1.0, 3.0, 5.0):
        torch.manual_seed(1)
        model = mlp_vae((6,), 8, 2, beta=beta)
        output = model(torch.full((3, 6), 0.3), "mean")
        losses.append(output.loss.item())
        slope = output.kl.mean().item()
    assert losses[1] - losses[0] == pytest.approx(2 * slope, rel=1e-4)
    assert losses[2] - losses[1] == pytest.approx(2 * slope, rel=1e-4)


@row(50, "001", "beta = 1 is the VAE: the loss is -ELBO", "vae/vae.py")
def _() -> None:
    output = vae()(digits().test_images[:20])
    assert output.loss.item() == pytest.approx(-output.elbo.mean().item(), rel=1e-6)


@row(51, "001", "a larger beta costs reconstruction and saves KL", "vae/vae.py")
def _() -> None:
    outputs = []
    for beta in (1.0, 10.0):
        model = trained(ModelSettings(name="vae", hidden=32, latent_dim=4, beta=beta), 8)
        with torch.no_grad():
            outputs.append(model(digits().test_images, "mean"))
    assert outputs[1].kl.mean() < 0.5 * outputs[0].kl.mean()
    assert outputs[1].log_likelihood.mean() < outputs[0].log_likelihood.mean()


@row(52, "001", "conditional VAE: p(x|z, y)", "vae/vae.py")
def _() -> None:
    model = trained(ModelSettings(name="conditional_vae", hidden=64, latent_dim=4, beta=2.0), 12)
    wanted = torch.arange(10).repeat_interleave(10)
    with torch.no_grad():
        drawn = model.sample(F.one_hot(wanted, 10).float(), torch.Generator().manual_seed(0))
    nearest = recall_at_k(
        drawn.flatten(1), wanted, digits().test_images.flatten(1), digits().test_labels
    )
    assert nearest > 0.8  # what was ordered is what came


@row(54, "001", "richer posteriors: a mixture of Gaussians", "vae/mixture_vae.py")
def _() -> None:
    parts = [DiagonalGaussian(double([[m]]), double([[-1.0]])) for m in (-2.0, 2.0)]
    mixture = GaussianMixture.of(parts)
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    log_q = mixture.log_prob(grid[:, None, None])[:, 0]
    prior = stats.norm.logpdf(grid.numpy())
    exact = np.trapezoid((log_q.exp().numpy()) * (log_q.numpy() - prior), grid.numpy())
    assert mixture.kl(num_samples=20_000).item() == pytest.approx(exact, abs=0.05)
    model = trained(ModelSettings(name="mixture_vae", hidden=32, latent_dim=2, components=3), 3)
    assert torch.isfinite(model(digits().test_images).elbo).all()


@row(55, "001", "categorical latents: KL = log K - H", "vae/categorical.py")
def _() -> None:
    assert GumbelCategorical(torch.zeros(1, 3, 5)).kl().item() == pytest.approx(0.0, abs=1e-6)
    logits = torch.randn(1, 1, 5)
    expected = math.log(5) - stats.entropy(logits.softmax(-1).flatten().numpy())
    assert GumbelCategorical(logits).kl().item() == pytest.approx(expected, abs=1e-5)


@row(56, "001", "codes as embeddings: retrieval, learning from few labels", "vae/latent_space.py")
def _() -> None:
    data = digits()
    queries, database = (
        codes_of(vae(8), {"x": data.test_images}),
        codes_of(vae(8), {"x": data.train_images}),
    )
    assert recall_at_k(queries, data.test_labels, database, data.train_labels) > 0.8
    assert recall_at_k(queries, data.test_labels, database, data.train_labels, 5) > 0.9


@row(
    106,
    "004",
    "the decoder is a distribution: C |x - f(z)|^2 with C = 1 / (2c)",
    "vae/likelihoods.py",
)
def _() -> None:
    case = known("latent_ops")["gaussian_nll"]
    x, mean = double([case["x"]]), double([case["f"]])
    found = -GaussianLikelihood(case["c"]).log_prob(mean, x).item()
    assert found == pytest.approx(case["value_with_constant"], abs=1e-12)
    assert found - math.log(2 * math.pi * case["c"]) == pytest.approx(
        case["value_sse_over_2c"], abs=1e-12
    )
    network = torch.nn.Sequential(MLPEncoder(4, (8,)), GaussianHead(8, 2))
    model = VAE(network, MLPDecoder(2, (8,), (4,)), 2, likelihood=GaussianLikelihood(case["c"]))
    assert model(torch.randn(3, 4)).loss.isfinite()
