"""Diagonal Gaussians: the one place in ecmvae that samples, takes a KL divergence or multiplies experts.

Kingma & Welling, "Auto-encoding variational Bayes", 2014 (arXiv:1312.6114) for the reparameterised sample and the KL;
Wu & Goodman, "Multimodal generative models for scalable weakly-supervised learning", 2018 (arXiv:1802.05335) for the
product of experts; Nielsen, "On the Jensen-Shannon symmetrization of distances relying on abstract means", 2019
(arXiv:1904.04017) for the geometric Jensen-Shannon divergence.

`logvar` is always log(sigma^2). Half-precision numbers are promoted to float32 inside exp and log and the result is
handed back in the caller's dtype; float32 and float64 stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils._pytree import register_pytree_node

LOGVAR_LIMIT = 30.0
"""`GaussianHead` clamps a network's log-variance to +-this: sigma between 3e-7 and 3e6, finite in float32."""

_LOG_2 = math.log(2.0)
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """N(mean, diag(exp(logvar))) over the last axis; the leading axes are independent distributions.

    Attributes:
        mean: (..., L) floating point.
        logvar: (..., L), log(sigma^2), same shape and dtype as `mean`.
    """

    mean: Float[Tensor, "... _"]
    logvar: Float[Tensor, "... _"]

    def __post_init__(self) -> None:
        """Refuse two tensors that cannot be one distribution.

        Raises:
            ValueError: When the tensors have no axis, or differ in shape or dtype.
        """
        if (
            self.mean.ndim == 0
            or self.mean.shape != self.logvar.shape
            or self.mean.dtype != self.logvar.dtype
        ):
            raise ValueError(
                "mean and logvar must be (..., L) of one shape and dtype, got "
                f"{tuple(self.mean.shape)} {self.mean.dtype} and {tuple(self.logvar.shape)} {self.logvar.dtype}: "
                "give one log-variance for every mean"
            )

    @property
    def mode(self) -> Float[Tensor, "... l"]:
        """(..., L), the most probable point, which is the mean."""
        return self.mean

    @property
    def variance(self) -> Float[Tensor, "... l"]:
        """(..., L), sigma^2."""
        return _promoted(self.logvar).exp().to(self.logvar.dtype)

    @property
    def std(self) -> Float[Tensor, "... l"]:
        """(..., L), sigma = exp(logvar / 2)."""
        return (0.5 * _promoted(self.logvar)).exp().to(self.logvar.dtype)

    def detach(self) -> DiagonalGaussian:
        """The same distribution, cut from the graph."""
        return DiagonalGaussian(self.mean.detach(), self.logvar.detach())

    def rsample(
        self, num_samples: int | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "... l"]:
        """Reparameterised draw mean + sigma * eps, so that gradients reach mean and logvar.

        Args:
            num_samples: K draws on a new leading axis; None draws once without that axis.
            generator: Source of eps, on the device of the tensors; None is torch's own.

        Returns:
            (..., L), or (K, ..., L) when `num_samples` is given.

        Raises:
            ValueError: When `num_samples` is below 1.
        """
        shape = (
            self.mean.shape
            if num_samples is None
            else (check_count(num_samples, "num_samples"), *self.mean.shape)
        )
        mean, logvar = _promoted(self.mean), _promoted(self.logvar)
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return (mean + (0.5 * logvar).exp() * noise).to(self.mean.dtype)

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """Log-density at `z`, in nats, summed over L.

        Args:
            z: (..., L), broadcast against the distribution: (K, ..., L) samples give (K, ...).
        """
        mean, logvar = _promoted(self.mean), _promoted(self.logvar)
        squared = (_promoted(z) - mean) ** 2 * (-logvar).exp()
        return (-0.5 * (squared + logvar + _LOG_2PI)).sum(-1).to(self.mean.dtype)

    def entropy(self) -> Float[Tensor, "..."]:
        """Differential entropy 1/2 sum(1 + log 2 pi + logvar), in nats (...,)."""
        return (0.5 * (1.0 + _LOG_2PI + _promoted(self.logvar))).sum(-1).to(self.mean.dtype)

    def kl_per_dimension(self, other: DiagonalGaussian | None = None) -> Float[Tensor, "... l"]:
        """KL(self || other) of every latent dimension, in nats (..., L); `other=None` is the standard normal."""
        mean, logvar = _promoted(self.mean), _promoted(self.logvar)
        if other is None:
            return (0.5 * (torch.expm1(logvar) - logvar + mean**2)).to(self.mean.dtype)
        other_mean, other_logvar = _promoted(other.mean), _promoted(other.logvar)
        ratio = logvar - other_logvar
        distance = (mean - other_mean) ** 2 * (-other_logvar).exp()
        # expm1 keeps the digits that exp(ratio) - 1 loses when the two variances are almost equal.
        return (0.5 * (torch.expm1(ratio) - ratio + distance)).to(self.mean.dtype)

    def kl(self, other: DiagonalGaussian | None = None) -> Float[Tensor, "..."]:
        """KL(self || other) in nats, summed over L, closed form; `other=None` is the standard normal.

        1/2 sum(logvar_p - logvar_q + exp(logvar_q - logvar_p) + (mean_q - mean_p)^2 / exp(logvar_p) - 1).
        """
        return self.kl_per_dimension(other).sum(-1)

    def js(
        self,
        other: DiagonalGaussian,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "..."]:
        """Jensen-Shannon divergence by Monte Carlo, in nats, over the L dimensions jointly.

        1/2 E_p log(p/m) + 1/2 E_q log(q/m) with m = (p + q) / 2, each density and the mixture taken at the same
        reparameterised sample. Every single estimate, not only its mean, is at most ln 2; it may be below 0.

        Args:
            other: Same shape as self.
            num_samples: K draws from each side, averaged.
            generator: Source of the draws; None is torch's own.

        Raises:
            ValueError: When `num_samples` is below 1.
        """
        p, q = self._wide(), other._wide()
        halves = []
        for own, rival in ((p, q), (q, p)):
            sample = own.rsample(num_samples, generator)
            # log(p/m) = ln 2 - softplus(log q - log p): no mixture density that could underflow.
            log_ratio = rival.log_prob(sample) - own.log_prob(sample)
            halves.append((_LOG_2 - torch.nn.functional.softplus(log_ratio)).mean(0))
        return (0.5 * (halves[0] + halves[1])).to(self.mean.dtype)

    def js_by_dimension(
        self,
        other: DiagonalGaussian,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "..."]:
        """Sum over L of the Jensen-Shannon divergence of each dimension alone, by Monte Carlo as `js`, in nats.

        It is at most L ln 2, and has a gradient as long as one dimension of the two still overlaps.
        """
        alone, rival = (
            DiagonalGaussian(each.mean[..., None], each.logvar[..., None]) for each in (self, other)
        )
        return alone.js(rival, num_samples, generator).sum(-1)

    def geometric_js(self, other: DiagonalGaussian, alpha: float = 0.5) -> Float[Tensor, "..."]:
        """Geometric Jensen-Shannon divergence, closed form, in nats (...,).

        (1 - alpha) KL(p || G) + alpha KL(q || G) with p = self, q = other and G proportional to p^(1-alpha) q^alpha.
        It is 0 at alpha 0 and 1, where G is one of the two.

        Raises:
            ValueError: When `alpha` is outside [0, 1].
        """
        p, q = self._wide(), other._wide()
        center = geometric_mean([p, q], [1.0 - alpha, alpha])
        return ((1.0 - alpha) * p.kl(center) + alpha * q.kl(center)).to(self.mean.dtype)

    def _wide(self) -> DiagonalGaussian:
        """The same distribution in at least float32."""
        return DiagonalGaussian(_promoted(self.mean), _promoted(self.logvar))


def standard_normal_like(z: Float[Tensor, "... l"]) -> DiagonalGaussian:
    """N(0, I) over the last axis, of the shape, dtype and device of `z`."""
    zeros = torch.zeros_like(z)
    return DiagonalGaussian(zeros, zeros)


def product_of_experts(
    experts: Sequence[DiagonalGaussian],
    include_prior: bool = True,
    mask: Bool[Tensor, "m ..."] | None = None,
) -> DiagonalGaussian:
    """The normalised product of M Gaussians: precisions add, means are averaged by precision, all in log space.

    Args:
        experts: M distributions of one shape (..., L).
        include_prior: Multiply by the standard normal too, the prior's expert.
        mask: (M, ...), True where an expert is present; broadcast over the leading axes. A missing expert has precision
            0 and no gradient, whatever numbers it holds, NaN included.

    Raises:
        ValueError: When there is no expert, or when without the prior a sample has none.
    """
    if not experts:
        raise ValueError("a product needs at least one expert: give a non-empty list")
    log_weights: list[float | Tensor] = [0.0] * len(experts)
    if mask is not None:
        if mask.shape[0] != len(experts):
            raise ValueError(
                f"mask has {mask.shape[0]} rows for {len(experts)} experts: give (M, ...)"
            )
        if not include_prior and not bool(mask.any(0).all()):
            raise ValueError("a sample has no expert at all: give one, or set include_prior=True")
        present = [row.unsqueeze(-1) for row in mask]
        experts = [
            DiagonalGaussian(
                torch.where(row, expert.mean, 0.0), torch.where(row, expert.logvar, 0.0)
            )
            for row, expert in zip(present, experts, strict=True)
        ]
        log_weights = [
            torch.zeros(row.shape, device=row.device).masked_fill(~row, -math.inf)
            for row in present
        ]
    if include_prior:
        experts, log_weights = (
            [*experts, standard_normal_like(experts[0].mean)],
            [*log_weights, 0.0],
        )
    return _weighted_product(experts, log_weights)


def geometric_mean(
    experts: Sequence[DiagonalGaussian], weights: Sequence[float] | Float[Tensor, "k ..."]
) -> DiagonalGaussian:
    """The Gaussian proportional to prod_k N_k^weight_k: an abstract (geometric) mean of Gaussians.

    Args:
        experts: K distributions of one shape (..., L).
        weights: K numbers >= 0 that sum to 1, or such numbers for every sample (K, ...).

    Raises:
        ValueError: When the weights do not fit the experts, are negative or do not sum to 1.
    """
    if isinstance(weights, Tensor):
        table = weights.to(_promoted(experts[0].mean))
        fine = bool((table >= 0).all()) and torch.allclose(table.sum(0), table.new_ones(()))
        logs: list[float | Tensor] = list(table.log().unsqueeze(-1))
    else:  # in Python: no GPU is waited for
        fine = min(weights, default=-1.0) >= 0 and math.isclose(sum(weights), 1, rel_tol=1e-5)
        logs = [math.log(weight) if weight > 0 else -math.inf for weight in weights]
    if len(logs) != len(experts) or not fine:
        given = weights.tolist() if isinstance(weights, Tensor) else list(weights)
        raise ValueError(
            f"weights must be one number >= 0 for each of {len(experts)} experts and sum to 1, got {given}"
        )
    return _weighted_product(experts, logs)


def _weighted_product(
    experts: Sequence[DiagonalGaussian], log_weights: Sequence[float | Tensor]
) -> DiagonalGaussian:
    """prod_k N_k^w_k: log-precision = logsumexp(log w_k - logvar_k), mean weighted by the softmax of the same."""
    dtype = experts[0].mean.dtype
    log_precisions = torch.stack(
        [
            weight - _promoted(expert.logvar)
            for expert, weight in zip(experts, log_weights, strict=True)
        ]
    )
    means = torch.stack([_promoted(expert.mean) for expert in experts])
    mean = (torch.softmax(log_precisions, 0) * means).sum(0)
    return DiagonalGaussian(mean.to(dtype), -torch.logsumexp(log_precisions, 0).to(dtype))


def check_count(value: int, name: str) -> int:
    """`value` itself.

    Raises:
        ValueError: When `value` is below 1.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def _promoted(value: Tensor) -> Tensor:
    """Float32 for halves, otherwise the tensor itself."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _unchecked(values: Iterable[Any], _: None) -> DiagonalGaussian:
    """A Gaussian of anything: `tree_map` may turn its tensors into shapes, devices or names."""
    gaussian = object.__new__(DiagonalGaussian)
    for name, value in zip(("mean", "logvar"), values, strict=True):
        object.__setattr__(gaussian, name, value)
    return gaussian


# So that outputs which hold Gaussians pass through `torch.export`.
register_pytree_node(
    DiagonalGaussian,
    lambda gaussian: ([gaussian.mean, gaussian.logvar], None),
    _unchecked,
    serialized_type_name="ecmvae.DiagonalGaussian",
)
