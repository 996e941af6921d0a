"""A hierarchical VAE: latents over latents, each level drawn given the one above it.

Sonderby et al., "Ladder variational autoencoders", 2016 (arXiv:1602.02282). With levels 1 (next to the data) to M:

    p(x, z) = p(z_M) prod_i p(z_i|z_i+1) p(x|z_1)
    q(z|x)  = q(z_M|x) prod_i q(z_i|z_i+1, x)

The encoder goes up and gives a Gaussian d_i(x) a level. On the way down q(z_i|z_i+1, x) is the product of d_i(x) and
p(z_i|z_i+1), eqs. 11 to 13: precisions add. The ELBO is log p(x|z_1) minus one KL a level, each at the drawn z_i+1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.conditional import ConditionalOutput
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, product_of_experts
from ecmvae.vae.latents import LatentSet, sum_of
from ecmvae.vae.priors import Posterior, Prior
from ecmvae.vae.vae import VAE


class LadderEncoder(nn.Module):
    """Features level by level, from the data up, and what each level makes of its features."""

    def __init__(self, stages: Sequence[nn.Module], heads: Sequence[nn.Module]) -> None:
        """`stages[i]` maps the features below it to its own (n, F_i), `heads[i]` those to a Gaussian over (n, L_i)."""
        super().__init__()
        if len(stages) != len(heads) or not stages:
            raise ValueError(
                f"give one head for each stage and at least one, got {len(stages)} and {len(heads)}"
            )
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)

    def forward(self, x: Float[Tensor, "n ..."]) -> list[DiagonalGaussian]:
        """d_1(x) to d_M(x)."""
        found = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            found.append(head(x))
        return found


class LadderVAE(VAE):
    """`VAE` with M levels of latents, called z1 (next to the data) to zM.

    The top level is what `encode`, `decode` and `sample` see as the latent; the levels below it take their means under
    `decode`, and are drawn by `sample`.
    """

    def __init__(
        self,
        encoder: LadderEncoder,
        top_down: Sequence[nn.Module],
        decoder: nn.Module,
        latent_dim: int,
        **options: Any,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Of M levels.
            top_down: M - 1 modules, the i-th maps z_i+1 (n, L_i+1) to the Gaussian p(z_i|z_i+1) over (n, L_i), for i
                from 1.
            decoder: z_1 (n, L_1) -> (n, *event) logits or means.
            latent_dim: L_M, the width of the top level.
            options: `likelihood`, `beta`, `prior` (of the top level) and `free_bits` of `VAE`.

        Raises:
            ValueError: When the number of levels differs.
        """
        super().__init__(encoder, decoder, latent_dim, **options)
        if len(top_down) != len(encoder.heads) - 1:
            raise ValueError(
                f"{len(encoder.heads)} levels need {len(encoder.heads) - 1} steps down, got {len(top_down)}"
            )
        self.top_down = nn.ModuleList(top_down)

    def score(
        self,
        y: Float[Tensor, "n ..."],
        condition: None,
        latents: Literal["sample", "mean"] = "sample",
    ) -> ConditionalOutput:
        """One pass up and down, each KL in closed form at the points that were drawn."""
        self.likelihood.check(y)
        posterior, prior, z = self._descend(self.encoder(y), latents)
        kl = posterior.divergence(prior)
        parameters = self.decoder(z["z1"])
        return ConditionalOutput(
            parameters=parameters,
            latents=posterior,
            points=z,
            log_likelihood=self.likelihood.log_prob(parameters, y),
            kl_by_latent=kl,
            divergence_by_latent=self._divergences(posterior, prior, kl),
            beta=self.beta,
        )

    def log_weights(
        self, y: Float[Tensor, "n ..."], condition: None = None, num_samples: int = 1
    ) -> Float[Tensor, "k n"]:
        """Log p(x, z_k) - log q(z_k|x) of K draws of all levels, for `bounds.iwae`."""
        self.likelihood.check(y)
        count = check_count(num_samples, "num_samples")
        repeated = [
            DiagonalGaussian(d.mean.repeat(count, 1), d.logvar.repeat(count, 1))
            for d in self.encoder(y)
        ]
        posterior, prior, z = self._descend(repeated, "sample")
        log_priors = sum_of([prior[name].log_prob(point) for name, point in z.items()])  # type: ignore[union-attr]
        difference = (log_priors - posterior.log_prob(z)).view(count, len(y))
        parameters = self.decoder(z["z1"])
        return difference + self.likelihood.log_prob(
            parameters.view(count, len(y), *parameters.shape[1:]), y
        )

    def kl(self, x: Float[Tensor, "n ..."], num_samples: int = 1) -> Float[Tensor, " n"]:
        """The sum of the levels' KL, from K draws."""
        levels = self.encoder(x)
        draws = [
            self._descend(levels, "sample") for _ in range(check_count(num_samples, "num_samples"))
        ]
        return torch.stack([sum_of(list(q.divergence(p).values())) for q, p, _ in draws]).mean(0)

    def posterior_latents(self, y: Float[Tensor, "n ..."], condition: None) -> LatentSet:
        """Q of every level along the path of the modes."""
        return self._descend(self.encoder(y), "mean")[0]

    def posterior(self, x: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """q(z_M|x) of the top level."""
        return self.encode(x)

    def encode(self, x: Float[Tensor, "n ..."]) -> DiagonalGaussian:
        """q(z_M|x) of the top level."""
        top: DiagonalGaussian = self.encoder(x)[-1]
        return top

    def decode(self, z: Float[Tensor, "n l"]) -> Float[Tensor, "n ..."]:
        """Logits or means at z_M and the means of the levels below it."""
        for step in reversed(self.top_down):
            z = step(z).mean
        parameters: Tensor = self.decoder(z)
        return parameters

    def reconstruct(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Mean image at the modes of all levels."""
        return self.likelihood.mean(self.decoder(self._descend(self.encoder(x), "mean")[2]["z1"]))

    def sample(
        self, count: int, generator: torch.Generator | None = None, *, draw: bool = False
    ) -> Float[Tensor, "n ..."]:
        """Ancestral sampling from the top level down; the last step as of `VAE.sample`."""
        z = self.prior.sample(check_count(count, "count"), next(self.parameters()), generator)
        for step in reversed(self.top_down):
            z = step(z).rsample(generator=generator)
        parameters = self.decoder(z)
        return (
            self.likelihood.sample(parameters, generator)
            if draw
            else self.likelihood.mean(parameters)
        )

    def _descend(
        self, levels: Sequence[DiagonalGaussian], latents: Literal["sample", "mean"]
    ) -> tuple[LatentSet, Mapping[str, Posterior | Prior], dict[str, Tensor]]:
        """q, p and the points of every level, from the top down."""
        q, point = levels[-1], _point(levels[-1], latents)
        name = f"z{len(levels)}"
        posterior: dict[str, Posterior] = {name: q}
        prior: dict[str, Posterior | Prior] = {name: self.prior}
        z = {name: point}
        for number in range(len(levels) - 1, 0, -1):
            name = f"z{number}"
            above: DiagonalGaussian = self.top_down[number - 1](point)
            q = product_of_experts([levels[number - 1], above], include_prior=False)
            point = _point(q, latents)
            posterior[name], prior[name], z[name] = q, above, point
        return LatentSet(posterior), prior, z


def _point(q: DiagonalGaussian, latents: Literal["sample", "mean"]) -> Tensor:
    return q.rsample() if latents == "sample" else q.mode
