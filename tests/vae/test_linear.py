"""Linear models against their closed-form optimum: probabilistic PCA and PCA's subspace."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ecmvae.vae.linear import LinearVAE, ProbabilisticPCA, linear_autoencoder


@pytest.fixture
def data(known):
    return torch.tensor(known("ppca")["X"], dtype=torch.float64)


def minimise(module, loss, steps=60):
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=25, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)


def test_probabilistic_pca_known_answers(known, data):
    case = known("ppca")
    model = ProbabilisticPCA.fit(data, 2)
    assert model.variance.item() == pytest.approx(case["sigma2_ml"], abs=1e-8)
    assert model.log_prob(data).mean().item() == pytest.approx(case["loglik_mean"], abs=1e-8)
    covariance = model.weight @ model.weight.T + model.variance * torch.eye(6, dtype=torch.float64)
    np.testing.assert_allclose(covariance.numpy(), case["C"], atol=1e-8)


def test_linear_vae_reaches_the_optimum_with_the_exact_expectation(known, data):
    best = known("ppca")["loglik_mean"]
    model = LinearVAE(6, 2).double()
    values = []

    def loss():
        value = model(data).loss
        values.append(-value.item())
        return value

    minimise(model, loss, steps=30)
    assert max(values) <= best + 1e-9  # a bound never passes the best log-likelihood
    assert values[-1] == pytest.approx(best, abs=1e-3)
    assert sorted(model(data).posterior.variance[0].tolist()) == pytest.approx(
        sorted(known("ppca")["q_var"]), abs=1e-3
    )


def test_linear_vae_reaches_the_optimum_with_sampling(known, data):
    best = known("ppca")["loglik_mean"]
    model = LinearVAE(6, 2).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
    for _ in range(800):
        optimizer.zero_grad()
        model(data, exact=False).loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        exact = -model(data).loss.item()
        sampled = -np.mean([model(data, exact=False).loss.item() for _ in range(50)])
    assert best - 0.02 < exact <= best
    assert sampled == pytest.approx(exact, abs=0.05)


def test_exact_expectation_is_the_mean_over_samples(data):
    model = LinearVAE(6, 2).double()
    exact, many = model(data).elbo, model(data.repeat(2000, 1), exact=False).elbo.view(2000, -1)
    standard_error = many.std(0) / 2000**0.5
    assert ((many.mean(0) - exact).abs() < 5 * standard_error).all()


def test_linear_autoencoder_finds_pcas_subspace_but_not_its_axes(known, data):
    model = linear_autoencoder(6, 2).double()
    minimise(model, lambda: model(data).loss, steps=30)
    error = ((model.reconstruct(data) - data) ** 2).mean().item()
    assert error == pytest.approx(known("ppca")["linear_ae_optimal_mse_per_element"], abs=1e-6)
    ours = torch.linalg.qr(model.decoder.weight.detach()).Q
    theirs = torch.from_numpy(PCA(2).fit(data.numpy()).components_.T.copy())
    cosines = torch.linalg.svdvals(ours.T @ theirs).clamp(max=1.0)
    assert torch.acos(cosines).max().item() < 1e-2
    gram = model.decoder.weight.detach().T @ model.decoder.weight.detach()
    assert (gram - torch.eye(2)).abs().max().item() > 0.05


def test_bad_input_says_what_to_do(data):
    with pytest.raises(ValueError, match="latent_dim"):
        ProbabilisticPCA.fit(data, 6)
    with pytest.raises(ValueError, match="NaN"):
        LinearVAE(2, 1)(torch.full((3, 2), torch.nan))
