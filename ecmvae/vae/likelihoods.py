"""p(x|z): what a decoder's numbers mean, and what data they can explain.

A likelihood turns decoder outputs ("parameters") and data into log p(x|z) in nats, summed over every data dimension and
with all constants kept, so that an ELBO is a true bound and values of different models compare.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.vae.gaussian import DiagonalGaussian


class BernoulliLikelihood(nn.Module):
    """Each value is a Bernoulli mean in [0, 1]; the decoder gives logits.

    Grey values count as expected bits (cross-entropy), the usual convention for MNIST.
    """

    def check(self, x: Float[Tensor, "..."]) -> None:
        """Refuse data outside [0, 1], and NaN, by a `ValueError`."""
        low, high = torch.aminmax(x)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"a Bernoulli decoder explains values in [0, 1], got {low.item():.4g} to {high.item():.4g}: divide "
                "8-bit images by 255, undo any normalisation, or use a Gaussian likelihood"
            )

    def log_prob(
        self, parameters: Float[Tensor, "..."], x: Float[Tensor, "n ..."]
    ) -> Float[Tensor, "..."]:
        """Log p(x|z) of logits (..., n, *event) for data (n, *event) -> (..., n)."""
        _check_event(parameters, x)
        logits = (
            parameters.float()
            if parameters.dtype in (torch.float16, torch.bfloat16)
            else parameters
        )
        bits = F.binary_cross_entropy_with_logits(
            logits, x.to(logits.dtype).expand_as(logits), reduction="none"
        )
        return -bits.flatten(parameters.ndim - x.ndim + 1).sum(-1)

    def mean(self, parameters: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """E[x|z], in (0, 1)."""
        return torch.sigmoid(parameters)

    def sample(
        self, parameters: Float[Tensor, "..."], generator: torch.Generator | None = None
    ) -> Float[Tensor, "..."]:
        """Draw x, zeros and ones."""
        return torch.bernoulli(torch.sigmoid(parameters), generator=generator)


class RealLikelihood(nn.Module):
    """What the likelihoods of real numbers share: any finite value can be explained."""

    def check(self, x: Float[Tensor, "..."]) -> None:
        """Refuse NaN and infinity by a `ValueError`."""
        if not torch.isfinite(x).all():
            raise ValueError("the data holds NaN or infinity: clean it before training")


class GaussianLikelihood(RealLikelihood):
    """N(x; decoder output, variance), one variance for all data dimensions, fixed or learnt.

    The squared error of the lectures, C ||x - f(z)||^2 with C = 1 / (2 variance), is -log p without its constant.
    """

    def __init__(self, variance: float = 1.0, *, learn_variance: bool = False) -> None:
        """Set sigma^2, as a start value when it is learnt."""
        super().__init__()
        if not variance > 0:
            raise ValueError(f"variance must be > 0, got {variance}")
        # A fixed variance is a number, not a tensor: it keeps its digits in a model of any dtype.
        logvar = math.log(variance)
        self.logvar: float | nn.Parameter = (
            nn.Parameter(torch.tensor(logvar)) if learn_variance else logvar
        )

    def log_prob(
        self, parameters: Float[Tensor, "..."], x: Float[Tensor, "n ..."]
    ) -> Float[Tensor, "..."]:
        """Log p(x|z) of means (..., n, *event) for data (n, *event) -> (..., n)."""
        _check_event(parameters, x)
        mean = parameters.flatten(parameters.ndim - x.ndim + 1)
        return self._around(mean).log_prob(x.flatten(1))

    def mean(self, parameters: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """E[x|z], the decoder's output."""
        return parameters

    def sample(
        self, parameters: Float[Tensor, "..."], generator: torch.Generator | None = None
    ) -> Float[Tensor, "..."]:
        """Draw x."""
        return self._around(parameters).rsample(generator=generator)

    def _around(self, mean: Tensor) -> DiagonalGaussian:
        logvar = torch.as_tensor(self.logvar, dtype=mean.dtype, device=mean.device)
        return DiagonalGaussian(mean, logvar.expand_as(mean))


class HeteroscedasticGaussianLikelihood(RealLikelihood):
    """N(x; mean, variance) with a mean and a log-variance for every data dimension.

    The decoder gives (n, 2, *event): means at index 0, log-variances at index 1 of axis 1.
    """

    def log_prob(
        self, parameters: Float[Tensor, "..."], x: Float[Tensor, "n ..."]
    ) -> Float[Tensor, "..."]:
        """Log p(x|z) of parameters (..., n, 2, *event) for data (n, *event) -> (..., n)."""
        mean, logvar = parameters.unbind(-x.ndim)
        _check_event(mean, x)
        event = mean.ndim - x.ndim + 1
        return DiagonalGaussian(mean.flatten(event), logvar.flatten(event)).log_prob(x.flatten(1))

    def mean(self, parameters: Float[Tensor, "n two ..."]) -> Float[Tensor, "n ..."]:
        """E[x|z], the first of the two."""
        return parameters[:, 0]

    def sample(
        self, parameters: Float[Tensor, "n two ..."], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n ..."]:
        """Draw x."""
        return DiagonalGaussian(parameters[:, 0], parameters[:, 1]).rsample(generator=generator)


class CategoricalLikelihood(nn.Module):
    """One of K classes, one-hot (n, K); the decoder gives K logits."""

    def check(self, x: Float[Tensor, "..."]) -> None:
        """Refuse rows that are not one-hot by a `ValueError`; an all-zero row stands for a missing label."""
        if not ((x == 0) | (x == 1)).all() or (x.sum(-1) > 1).any():
            raise ValueError(
                "a categorical decoder explains one-hot rows: use torch.nn.functional.one_hot(labels)"
            )

    def log_prob(
        self, parameters: Float[Tensor, "..."], x: Float[Tensor, "n k"]
    ) -> Float[Tensor, "..."]:
        """Log p(x|z) of logits (..., n, K) for one-hot data (n, K) -> (..., n)."""
        _check_event(parameters, x)
        return (parameters.log_softmax(-1) * x).sum(-1)

    def mean(self, parameters: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """E[x|z], class probabilities."""
        return parameters.softmax(-1)

    def sample(
        self, parameters: Float[Tensor, "n k"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n k"]:
        """Draw x, one-hot."""
        drawn = torch.multinomial(parameters.softmax(-1), 1, generator=generator)[:, 0]
        return F.one_hot(drawn, parameters.shape[-1]).to(parameters.dtype)


Likelihood = (
    BernoulliLikelihood
    | GaussianLikelihood
    | HeteroscedasticGaussianLikelihood
    | CategoricalLikelihood
)
"""What `AutoEncoder`, `VAE` and the multimodal models accept."""


def _check_event(parameters: Tensor, x: Tensor) -> None:
    if (
        parameters.ndim < x.ndim
        or parameters.shape[parameters.ndim - x.ndim :] != x.shape
        or x.ndim < 2
    ):
        raise ValueError(
            f"decoder output {tuple(parameters.shape)} does not match data {tuple(x.shape)}: "
            "give the decoder the shape of one sample, batch first"
        )
