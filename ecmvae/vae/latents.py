"""Several latent variables by name: what the encoder of a factorised model returns, and what its decoder is given.

A plain VAE has one latent, z. DMVAE and MMVAE+ have a shared c and a private s_m for each modality m; ECMVAE has c, s_v
and s_a. Each is a distribution over (n, L) of its own; given the data they are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils._pytree import register_pytree_node

from ecmvae.vae.categorical import GumbelCategorical
from ecmvae.vae.flow_posterior import FlowPosterior
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.priors import Posterior, Prior

DivergenceName = Literal["kl", "geometric_js", "dimension_js", "js"]
"""kl and geometric_js have closed forms. dimension_js is the sum of the L one-dimensional Jensen-Shannon divergences,
by Monte Carlo, at most L ln 2; js is the divergence over the L dimensions jointly, at most ln 2 and flat near it."""

DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "kl": DiagonalGaussian.kl,
    "geometric_js": DiagonalGaussian.geometric_js,
    "dimension_js": DiagonalGaussian.js_by_dimension,
    "js": DiagonalGaussian.js,
}
"""Divergences of two Gaussians (n, L) by name, each (n,) nats."""


class LatentSet(Mapping[str, Posterior]):
    """Independent latents by name, in order.

    Args:
        latents: Name -> distribution over (n, L), of one n.

    Raises:
        ValueError: When `latents` is empty.
    """

    def __init__(self, latents: Mapping[str, Posterior]) -> None:
        if not latents:
            raise ValueError("a LatentSet needs at least one latent: give {name: distribution}")
        self._latents = dict(latents)

    def __getitem__(self, name: str) -> Posterior:
        return self._latents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._latents)

    def __len__(self) -> int:
        return len(self._latents)

    def __repr__(self) -> str:
        return f"LatentSet({', '.join(f'{name}: {tuple(each.mode.shape)}' for name, each in self.items())})"

    def gaussian(self, name: str) -> DiagonalGaussian:
        """The latent called `name`.

        Raises:
            ValueError: When there is none, or it is not a Gaussian.
        """
        self.check_names([name])
        return _gaussian(self[name], name)

    @property
    def mode(self) -> dict[str, Float[Tensor, "n _"]]:
        """The most probable point of each latent, (n, L)."""
        return {name: each.mode for name, each in self.items()}

    def rsample(self, num_samples: int | None = None) -> dict[str, Float[Tensor, "... n _"]]:
        """One reparameterised draw of each latent, (n, L), or K draws (K, n, L).

        Raises:
            ValueError: When `num_samples` is below 1, or a posterior cannot be drawn from more than once.
        """
        if num_samples is None:
            return {name: each.rsample() for name, each in self.items()}
        return {name: _with_density(each).rsample(num_samples) for name, each in self.items()}

    def log_prob(self, z: Mapping[str, Float[Tensor, "... n _"]]) -> Float[Tensor, "... n"]:
        """Log-density of a point, in nats, summed over the latents.

        Raises:
            ValueError: When a latent has no density.
        """
        return sum_of([_with_density(each).log_prob(z[name]) for name, each in self.items()])

    def divergence(
        self,
        prior: Mapping[str, Posterior | Prior],
        kinds: str | Mapping[str, str] = "kl",
        num_samples: int = 1,
    ) -> dict[str, Float[Tensor, " n"]]:
        """Divergence of each latent from its prior, in nats.

        Args:
            prior: Name -> distribution, or a `Prior`.
            kinds: A `DivergenceName` for all, or name -> kind; a name left out is "kl".
            num_samples: K of the kinds that are Monte-Carlo estimates.

        Raises:
            ValueError: For an unknown name or kind, or a kind that is not defined for a pair of distributions.
        """
        chosen = dict.fromkeys(self, kinds) if isinstance(kinds, str) else dict(kinds)
        self.check_names(chosen)
        return {
            name: divergence(each, prior[name], chosen.get(name, "kl"), num_samples)
            for name, each in self.items()
        }

    def kl_by_dimension(
        self, prior: Mapping[str, Posterior] | None = None
    ) -> dict[str, Float[Tensor, " _"]]:
        """KL to the prior of every dimension, (L,) nats, mean over n: near 0 where a dimension carries nothing.

        Args:
            prior: Name -> Gaussian; None is the standard normal.

        Raises:
            ValueError: When a distribution does not fall apart into dimensions.
        """
        table = {}
        for name, each in self.items():
            other = None if prior is None else _gaussian(prior[name], name)
            table[name] = _gaussian(each, name).kl_per_dimension(other).flatten(0, -2).mean(0)
        return table

    def active_units(self, threshold: float = 0.01) -> dict[str, Bool[Tensor, " _"]]:
        """Which dimensions of each latent vary with the data; see `active_units`."""
        return {name: active_units(each.mode, threshold) for name, each in self.items()}

    def placed_at(self, rows: Int[Tensor, " k"], other: LatentSet) -> LatentSet:
        """These latents of k samples as the rows `rows`, and the rows of `other` (n, L) elsewhere."""

        def placed(mine: DiagonalGaussian, everywhere: DiagonalGaussian) -> DiagonalGaussian:
            mean = everywhere.mean.index_copy(0, rows, mine.mean)
            return DiagonalGaussian(mean, everywhere.logvar.index_copy(0, rows, mine.logvar))

        return LatentSet(
            {k: placed(_gaussian(each, k), _gaussian(other[k], k)) for k, each in self.items()}
        )

    def swap(self, other: LatentSet, names: Sequence[str]) -> LatentSet:
        """These latents, with those called `names` taken from `other`.

        Raises:
            ValueError: For an unknown name.
        """
        self.check_names(names)
        return LatentSet(
            {name: other[name] if name in names else each for name, each in self.items()}
        )

    def check_names(self, names: Sequence[str] | Mapping[str, object]) -> None:
        """Refuse a name that is not among the latents, by a `ValueError`."""
        if unknown := sorted(set(names) - set(self)):
            raise ValueError(f"unknown latent {', '.join(unknown)}: choose from {', '.join(self)}")


def divergence(
    posterior: Posterior, prior: Posterior | Prior, kind: str = "kl", num_samples: int = 1
) -> Float[Tensor, " n"]:
    """Divergence of one latent (n, L) from its prior, in nats; see `LatentSet.divergence`."""
    if kind not in DIVERGENCES:
        raise ValueError(f"unknown divergence {kind!r}: choose from {', '.join(DIVERGENCES)}")
    if isinstance(prior, Prior) and kind == "kl":
        return prior.kl(posterior, num_samples)
    if isinstance(posterior, DiagonalGaussian) and isinstance(prior, DiagonalGaussian):
        sampled = {"num_samples": num_samples} if kind in ("js", "dimension_js") else {}
        return DIVERGENCES[kind](posterior, prior, **sampled)
    raise ValueError(
        f"{kind} is not defined for a {type(posterior).__name__} and a {type(prior).__name__}: it needs two Gaussians"
        + ("" if kind == "kl" else "; choose kl")
    )


def active_units(means: Float[Tensor, "n l"], threshold: float = 0.01) -> Bool[Tensor, " l"]:
    """Which latent dimensions react to the data: variance of E[z|x] over x above `threshold` (Burda et al., 2016)."""
    if len(means) < 2:
        raise ValueError(
            "active units need at least 2 samples to have a variance, got " + str(len(means))
        )
    return means.var(0) > threshold


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(list(parts)).sum(0)


def _gaussian(latent: Posterior, name: str) -> DiagonalGaussian:
    if not isinstance(latent, DiagonalGaussian):
        raise ValueError(
            f"latent {name} is a {type(latent).__name__}: this needs a DiagonalGaussian"
        )
    return latent


def _with_density(latent: Posterior) -> DiagonalGaussian | GaussianMixture | FlowPosterior:
    if isinstance(latent, GumbelCategorical):
        raise ValueError(
            f"importance weights need a Gaussian, a mixture or a flow, not {type(latent).__name__}"
        )
    return latent


# So that outputs which hold latents pass through `torch.export`.
register_pytree_node(
    LatentSet,
    lambda latents: (list(latents.values()), list(latents)),
    lambda values, names: LatentSet(dict(zip(names, values, strict=True))),
    serialized_type_name="ecmvae.LatentSet",
)
