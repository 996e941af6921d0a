"""Latent-variable models sampled parent by parent: the nonlinear Gaussian model and chains of tables.

S. J. D. Prince, "Understanding deep learning", 2023, chapter 17: Pr(z) = N(0, I), Pr(x|z) = N(f(z), sigma^2 I).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.divergences import check_table
from ecmvae.vae.gaussian import DiagonalGaussian, check_count, standard_normal_like
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.priors import Prior, prior_or_standard_normal


class NonlinearLatentModel:
    """z ~ p(z), x ~ N(f(z), variance I) for any function f from (n, L) to (n, D); p(z) is N(0, I) unless given.

    With a network as f it is an infinite mixture of Gaussians whose means lie on a curve or a surface; `fit` trains it
    by its likelihood, without an encoder.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        latent_dim: int,
        variance: float,
        prior: Prior | None = None,
        *,
        learn_variance: bool = False,
    ) -> None:
        self.function, self.latent_dim = function, latent_dim
        self.prior = prior_or_standard_normal(prior, latent_dim)
        self.likelihood = GaussianLikelihood(variance, learn_variance=learn_variance)

    def sample(self, count: int) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n d"]]:
        """Ancestral sampling: z from its prior, then x given z."""
        z = self.prior.sample(check_count(count, "count"), torch.empty(0, dtype=torch.float64))
        return z, self.likelihood.sample(self.function(z)).detach()

    def log_prob_by_quadrature(
        self, x: Float[Tensor, "n d"], *, limit: float = 10.0, points: int = 20_001
    ) -> Float[Tensor, " n"]:
        """Log p(x) by the trapezoid rule over z in [-limit, limit], for L = 1; exact to rounding for a smooth f."""
        if self.latent_dim != 1:
            raise ValueError(
                f"quadrature needs one latent, this model has {self.latent_dim}: use log_prob_by_sampling"
            )
        return self._quadrature(x, limit, points).detach()

    def log_prob_by_sampling(
        self, x: Float[Tensor, "n d"], num_samples: int, proposal: DiagonalGaussian | None = None
    ) -> Float[Tensor, " n"]:
        """Importance-sampling estimate of log p(x) from `proposal` (n, L); None draws from N(0, I)."""
        if proposal is None:
            proposal = standard_normal_like(x.new_zeros(len(x), self.latent_dim))
        z = proposal.rsample(num_samples)
        return bounds.iwae(self._log_joint(z, x) - proposal.log_prob(z)).detach()

    def log_likelihood(
        self, x: Float[Tensor, "n d"], num_samples: int = 200
    ) -> Float[Tensor, " n"]:
        """Log p(x) with gradients in f, the variance and the prior.

        One latent: the trapezoid rule at `num_samples` points between -6 and 6. More: importance sampling from the
        prior with so many draws, a lower bound in the mean.
        """
        if self.latent_dim == 1:
            return self._quadrature(x, 6.0, num_samples)
        z = self.prior.sample(check_count(num_samples, "num_samples") * len(x), x)
        z = rearrange(z, "(k n) l -> k n l", n=len(x))
        return bounds.iwae(self._log_joint(z, x) - self.prior.log_prob(z))

    def fit(
        self,
        x: Float[Tensor, "n d"],
        *,
        steps: int = 300,
        learning_rate: float = 1e-2,
        num_samples: int = 200,
    ) -> list[float]:
        """Maximise the mean log-likelihood of x over the parameters of f, the variance and the prior, by Adam.

        Args:
            x: Data, in the dtype of f.
            steps: Of Adam, each on all data.
            learning_rate: Of Adam.
            num_samples: As of `log_likelihood`.

        Returns:
            The mean log p(x) before each step and after the last, in nats per sample.

        Raises:
            ValueError: When there is no parameter to learn.
        """
        modules = (self.function, self.likelihood, self.prior)
        parameters = [
            each
            for module in modules
            if isinstance(module, nn.Module)
            for each in module.parameters()
        ]
        if not parameters:
            raise ValueError(
                "nothing can be learnt: give a network as the function, or learn_variance=True"
            )
        optimizer, history = torch.optim.Adam(parameters, learning_rate), []
        for _ in range(check_count(steps, "steps")):
            loss = -self.log_likelihood(x, num_samples).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            history.append(-loss.item())
        with torch.no_grad():
            return [*history, self.log_likelihood(x, num_samples).mean().item()]

    def _quadrature(self, x: Tensor, limit: float, points: int) -> Tensor:
        z = torch.linspace(-limit, limit, points, dtype=x.dtype, device=x.device)
        spacing = torch.full_like(z, 2 * limit / (points - 1))
        spacing[[0, -1]] /= 2
        log_joint = self._log_joint(rearrange(z, "k -> k 1 1").expand(points, len(x), 1), x)
        return torch.logsumexp(log_joint + spacing.log()[:, None], 0)

    def _log_joint(self, z: Tensor, x: Tensor) -> Tensor:
        """Log p(x, z) of z (K, n, L) and x (n, D) -> (K, n)."""
        mean = rearrange(
            self.function(rearrange(z, "k n l -> (k n) l")), "(k n) d -> k n d", k=len(z)
        )
        return self.likelihood.log_prob(mean, x) + self.prior.log_prob(z)


def sample_chain(
    initial: Float[Tensor, " a"], transitions: Sequence[Float[Tensor, "_ _"]], count: int
) -> Int[Tensor, "n v"]:
    """Ancestral samples of a chain Pr(x) Pr(y|x) Pr(z|y) ... of discrete variables: (n, V) values, one column each.

    `initial` is Pr(x); `transitions` has one table for each further variable, row = value of the parent, summing to 1.
    """
    check_table(initial)
    columns = [torch.multinomial(initial, check_count(count, "count"), replacement=True)]
    values = len(initial)
    for table in transitions:
        check_table(table)
        if len(table) != values:
            raise ValueError(f"a transition has {len(table)} rows for a parent of {values} values")
        columns.append(torch.multinomial(table[columns[-1]], 1)[:, 0])
        values = table.shape[1]
    return torch.stack(columns, 1)
