"""ECMVAE is a conditional latent-variable model: its bounds against quadrature over all of its latents."""

import math
import re
from pathlib import Path

import pytest
import torch
from numpy.polynomial.hermite import hermgauss
from torch import Tensor
from torch.nn import functional as F

from ecmvae.config import config_from_dict
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, build_model
from ecmvae.models.branch import ClipInputs
from ecmvae.vae.bounds import iwae
from ecmvae.vae.conditional import ConditionalLatentModel
from ecmvae.vae.vae import VAE, ConditionalVAE

SOURCES = Path(__file__).parents[2] / "ecmvae"


def _model(kind: str, dim: int, **loss: float) -> tuple[ECMVAE, Objective]:
    torch.manual_seed(0)
    values = {
        "visual": {"name": "efficientnet_lite0"},
        "channels": 16,
        "fusion": {"kind": "gate"},
        "latent": {"kind": kind, "dim": dim, "shared_divergence": "geometric_js"},
    }
    config = config_from_dict({"model": values, "loss": loss})
    return build_model(config.model, image_size=32).eval(), Objective.from_config(config)


def _clip() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    return (
        torch.randn(1, 1, 3, 32, 32),
        torch.rand(1, 1, 128),
        (torch.rand(1, 1, 1, 32, 32) > 0.6).float(),
    )


@torch.no_grad()
def _by_quadrature(
    model: ECMVAE, clip: ClipInputs, masks: Tensor, nodes: int
) -> tuple[float, float]:
    """The ELBO and log p(y|x) of one frame, by Gauss-Hermite quadrature over the product of its one-wide latents."""
    x, weight = (torch.from_numpy(each).float() for each in hermgauss(nodes))
    posterior, prior = model.posterior_latents(masks, clip), model.prior_latents(clip)
    grids = torch.meshgrid(*[x] * len(prior), indexing="ij")
    log_weight = sum(
        torch.meshgrid(*[(weight / math.sqrt(math.pi)).log()] * len(prior), indexing="ij")
    ).flatten()
    count = nodes ** len(prior)
    many = ClipInputs(
        clip.frames.expand(count, -1, -1, -1, -1),
        clip.audio.expand(count, -1, -1),
        [each.expand(count, -1, -1, -1) for each in clip.maps],
    )

    def expected(latents) -> Tensor:
        """Log p(y|x, z) at the nodes of a distribution."""
        points = [
            (each.mean + math.sqrt(2) * each.std * grid.flatten()).mT
            for each, grid in zip(latents, grids, strict=True)
        ]
        logits = model.decode_latents(dict(zip(prior, points, strict=True)), many)
        return (
            -F.binary_cross_entropy_with_logits(logits, masks.expand_as(logits), reduction="none")
            .flatten(1)
            .sum(1)
        )

    kl = sum(
        torch.distributions.kl_divergence(
            torch.distributions.Normal(posterior[name].mean, posterior[name].std),
            torch.distributions.Normal(prior[name].mean, prior[name].std),
        ).sum()
        for name in prior
    )
    elbo = (log_weight.exp() * expected(posterior.values())).sum() - kl
    return elbo.item(), torch.logsumexp(log_weight + expected(prior.values()), 0).item()


@pytest.mark.parametrize(("kind", "nodes"), [("single", 41), ("factorized", 11)])
def test_bounds_are_those_of_brute_force(kind: str, nodes: int) -> None:
    model, _ = _model(kind, 1)
    frames, audio, masks = _clip()
    model.posterior_branch.injection.mix.weight.data *= (
        0.4  # few draws are then enough for importance weights
    )
    clip, y = model.condition(frames, audio), masks.flatten(0, 1)
    elbo, log_likelihood = _by_quadrature(model, clip, y, nodes)
    with torch.no_grad():
        torch.manual_seed(0)
        log_weights = model.log_weights(y, clip, 300)
        error = log_weights.std().item() / math.sqrt(300)
        weights = (log_weights - log_weights.max()).exp()
        log_error = (weights.std() / weights.mean()).item() / math.sqrt(300)
        assert 0.01 < error < 0.5  # the latents matter, and the estimates are near
        assert 0.0 < log_error < 0.2
        assert log_weights.mean().item() == pytest.approx(elbo, abs=4 * error)
        assert iwae(log_weights).item() == pytest.approx(log_likelihood, abs=4 * log_error)
        bounds = []
        for estimate in (model.log_weights, model.elbo, model.log_likelihood):
            torch.manual_seed(1)
            bounds.append(estimate(y, clip, 5))
    torch.testing.assert_close(bounds[1], bounds[0].mean(0))
    torch.testing.assert_close(bounds[2], iwae(bounds[0]))
    assert elbo < log_likelihood


@pytest.mark.parametrize("kind", ["single", "factorized", "agreement"])
def test_the_loss_is_the_bound_of_the_model(kind: str) -> None:
    """Cross-entropy of a mask times its pixels, and the KL that the objective logs, are the terms of ``score``."""
    model, objective = _model(kind, 4)
    frames, audio, masks = _clip()
    clip = model.condition(frames, audio)
    output, scored = (
        model(frames, audio, masks, latents="mean"),
        model.score(masks.flatten(0, 1), clip, "mean"),
    )
    bce = F.binary_cross_entropy_with_logits(output.posterior_logits, masks, reduction="sum")
    torch.testing.assert_close(scored.log_likelihood.sum(), -bce)
    values = objective(output, masks).values
    for name in model.latent_names[1:]:
        torch.testing.assert_close(values[f"kl_{name}"], scored.kl_by_latent[name].mean())
    shared = scored.latents["shared"].geometric_js(output.prior["shared"])
    torch.testing.assert_close(values["geometric_js_shared"], shared.mean())
    torch.testing.assert_close(
        scored.elbo, scored.log_likelihood - sum(scored.kl_by_latent.values())
    )


def test_they_are_one_family() -> None:
    assert all(issubclass(model, ConditionalLatentModel) for model in (VAE, ConditionalVAE, ECMVAE))


def test_a_model_without_latents_has_no_bound() -> None:
    model, _ = _model("none", 1)
    frames, audio, masks = _clip()
    with pytest.raises(UserError, match="no latents"):
        model.elbo(masks.flatten(0, 1), model.condition(frames, audio))


def test_draws_below_one_are_refused() -> None:
    model, _ = _model("single", 1)
    frames, audio, masks = _clip()
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        model.log_likelihood(masks.flatten(0, 1), model.condition(frames, audio), 0)


def test_one_kl_one_product_and_one_reparameterisation_in_the_tree() -> None:
    noise, density = re.compile(r"\brandn(_like)?\("), re.compile(r"\bexp\(|expm1|softmax\(")
    both = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if noise.search(text := path.read_text()) and density.search(text)
    }
    assert both == {"vae/gaussian.py"}
    # the exact density of probabilistic PCA is not a diagonal Gaussian's
    full_covariance = {"vae/linear.py"}
    logit = {"models/regions.py"}  # of a log-probability, log p - log(1 - p)
    for forbidden, elsewhere in (
        ("torch.distributions", full_covariance),
        ("kl_div(", set()),
        ("expm1(", logit),
    ):
        found = {
            str(path.relative_to(SOURCES))
            for path in SOURCES.rglob("*.py")
            if forbidden in path.read_text()
        }
        assert found <= {"vae/gaussian.py"} | elsewhere
