"""Samplers fitted to the codes of a trained model: a density of q(z) that replaces the prior when drawing new images.

Ghosh et al., 2020 (arXiv:1903.12436), section 4, "ex-post density estimation": codes of the training data, a mixture of
ten full-covariance Gaussians, samples from that. Any model with codes takes one: an autoencoder has no prior of its
own, and a VAE whose aggregate posterior is far from its prior gains most. The ELBO is the model's own prior's.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.classic import MixtureModel
from ecmvae.vae.flow_prior import FlowPrior
from ecmvae.vae.gaussian import check_count, standard_normal_like
from ecmvae.vae.priors import Prior
from ecmvae.vae.vae import VAE

SamplerName = Literal["gaussian_mixture", "flow"]


class FullMixturePrior(Prior):
    """C Gaussians with full covariances.

    Attributes:
        log_weights: (C,), normalised.
        means: (C, L).
        factors: (C, L, L), lower triangular Cholesky factors of the covariances.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        weights: Float[Tensor, " c"],
        means: Float[Tensor, "c l"],
        covariances: Float[Tensor, "c l l"],
    ) -> None:
        super().__init__(means.shape[1])
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("means", means)
        self.register_buffer("factors", torch.linalg.cholesky(covariances))

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`, in nats."""
        centred = (z.unsqueeze(-2) - self.means).unsqueeze(-1)  # (..., C, L, 1)
        solved = torch.linalg.solve_triangular(self.factors, centred, upper=False)[..., 0]
        log_roots = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_probs = (
            -0.5 * (solved.square().sum(-1) + self.latent_dim * math.log(2.0 * math.pi)) - log_roots
        )
        return torch.logsumexp(self.log_weights + log_probs, -1)

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, L) draws."""
        chosen = torch.multinomial(
            self.log_weights.exp(), count, replacement=True, generator=generator
        )
        noise = standard_normal_like(self.means.new_empty(count, self.latent_dim)).rsample(
            generator=generator
        )
        return (self.means[chosen] + (self.factors[chosen] @ noise[..., None])[..., 0]).to(like)


def fit_gaussian_mixture(
    codes: Float[Tensor, "n l"], *, components: int = 10, seed: int = 0
) -> FullMixturePrior:
    """Expectation-maximisation on the codes, by scikit-learn.

    Raises:
        ValueError: With fewer codes than components.
    """
    if len(codes) < check_count(components, "components"):
        raise ValueError(
            f"{components} components need at least as many codes, got {len(codes)}: take fewer"
        )
    fitted = (
        MixtureModel(components, seed=seed, covariance_type="full")
        .fit(codes.double().numpy(force=True))
        .estimator
    )
    parts = (
        torch.from_numpy(each).to(codes)
        for each in (fitted.weights_, fitted.means_, fitted.covariances_)
    )
    return FullMixturePrior(*parts)


class ScaledFlow(FlowPrior):
    """A flow over standardised codes: z = mean + std f(u)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Float[Tensor, " l"], std: Float[Tensor, " l"], layers: int = 6, hidden: int = 64
    ) -> None:
        super().__init__(len(mean), layers, hidden)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(
        self, u: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The image z of u, and log |det dz/du|."""
        z, log_det = super().forward(u)
        return self.mean + self.std * z, log_det + self.std.log().sum()

    def inverse(
        self, z: Float[Tensor, "... l"]
    ) -> tuple[Float[Tensor, "... l"], Float[Tensor, "..."]]:
        """The origin u of z, and log |det du/dz|."""
        u, log_det = super().inverse((z - self.mean) / self.std)
        return u, log_det - self.std.log().sum()


@torch.enable_grad()
def fit_flow(
    codes: Float[Tensor, "n l"],
    *,
    layers: int = 6,
    hidden: int = 64,
    epochs: int = 50,
    batch_size: int = 200,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> FlowPrior:
    """RealNVP, by maximum likelihood on the codes; in eval mode, also when called under `no_grad`.

    Raises:
        ValueError: With fewer than 2 codes or latents, or a count below 1.
    """
    if len(codes) < 2:
        raise ValueError(f"a flow learns from at least 2 codes, got {len(codes)}")
    codes = codes.detach()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = ScaledFlow(codes.mean(0), codes.std(0).clamp_min(1e-6), layers, hidden).to(codes)
    optimizer = torch.optim.Adam(flow.parameters(), learning_rate)
    for _ in range(check_count(epochs, "epochs")):
        order = torch.randperm(len(codes), generator=generator)
        for index in torch.split(order, check_count(batch_size, "batch_size")):
            loss = -flow.log_prob(codes[index.to(codes.device)]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return flow.eval().requires_grad_(False)


def fit_sampler(name: str, codes: Float[Tensor, "n l"], *, seed: int = 0) -> Prior:
    """A sampler by its name, with its default settings.

    Raises:
        ValueError: For an unknown name, and as the samplers.
    """
    if name == "gaussian_mixture":
        return fit_gaussian_mixture(codes, components=min(10, len(codes)), seed=seed)
    if name == "flow":
        return fit_flow(codes, seed=seed)
    raise ValueError(f"unknown sampler {name!r}: choose from gaussian_mixture, flow")


@torch.no_grad()
def sample_with(
    model: AutoEncoder | VAE,
    sampler: Prior,
    count: int,
    generator: torch.Generator | None = None,
    *,
    draw: bool = False,
) -> Float[Tensor, "n ..."]:
    """Images of `count` codes of the sampler: their means, or with `draw` a draw from p(x|z).

    Raises:
        ValueError: For a count below 1.
    """
    codes = sampler.sample(check_count(count, "count"), next(model.parameters()), generator)
    parameters = model.decode(codes)
    return (
        model.likelihood.sample(parameters, generator)
        if draw
        else model.likelihood.mean(parameters)
    )
