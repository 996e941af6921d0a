"""What all multimodal VAEs share: named modalities, missing ones, likelihoods, joint log-likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ecmvae.vae import bounds
from ecmvae.vae.gaussian import DiagonalGaussian, check_count
from ecmvae.vae.latents import LatentSet, sum_of
from ecmvae.vae.likelihoods import BernoulliLikelihood, Likelihood
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.priors import Prior, prior_or_standard_normal

Modalities = Mapping[str, Tensor]
"""Name -> (n, *event). A modality that is missing for every sample is left out."""

Presence = Mapping[str, Tensor]
"""Name -> (n,) bool, True where that sample has the modality; a name left out is present for every sample."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MultimodalOutput:
    """What one forward gives; nats per sample.

    Attributes:
        loss: Scalar to minimise, the mean over the batch of what the class's docstring states.
        log_likelihoods: Modality -> log p(x_m|z) under the joint posterior, (n,), 0 where it is missing.
        kl: (n,), the divergence inside `elbo`.
        posterior: q(z | all present modalities).
    """

    loss: Tensor
    log_likelihoods: dict[str, Tensor]
    kl: Tensor
    posterior: DiagonalGaussian | GaussianMixture

    @classmethod
    def stratified(
        cls,
        posterior: GaussianMixture,
        bound: Float[Tensor, "m n"],
        scores: Mapping[str, Float[Tensor, "k m n"]],
        divergence: Float[Tensor, "k m n"],
    ) -> MultimodalOutput:
        """The output for K samples of each of M components: means by the components' weights.

        `bound` is maximised; `scores` are the samples' log p(x_m|z) by modality, `divergence` log q(z) - log p(z).
        """
        return cls(
            loss=-posterior.average(bound).mean(),
            log_likelihoods={
                name: posterior.average(score.mean(0)) for name, score in scores.items()
            },
            kl=posterior.average(divergence.mean(0)),
            posterior=posterior,
        )

    @property
    def elbo(self) -> Tensor:
        """(n,), a lower bound on log p(all present modalities) under the joint posterior."""
        return bounds.elbo(sum_of(list(self.log_likelihoods.values())), self.kl)

    def named(self) -> dict[str, Tensor]:
        """Scalars to log."""
        terms = {
            f"log_likelihood/{name}": value.mean() for name, value in self.log_likelihoods.items()
        }
        return {"loss": self.loss, "elbo": self.elbo.mean(), "kl": self.kl.mean()} | terms


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedBatch:
    """Checked data of one call: present values, zeros where missing.

    Attributes:
        data: Modality -> (n, *event).
        present: (M, n) bool, rows in the order of `data`.
    """

    data: dict[str, Tensor]
    present: Bool[Tensor, "m n"]


class MultimodalVAE(nn.Module, ABC):
    """Encoders, decoders and likelihoods by modality name; a subclass adds the joint posterior and the objective."""

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        latent_dim: int,
        *,
        likelihoods: Mapping[str, Likelihood] | None = None,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        prior: Prior | None = None,
    ) -> None:
        """Hold the parts.

        Args:
            encoders: Modality -> module (n, *event) -> `DiagonalGaussian` over L.
            decoders: Modality -> module (n, L) -> (n, *event) logits or means.
            latent_dim: L.
            likelihoods: Modality -> what its decoder's output means; a name left out is Bernoulli.
            weights: Modality -> factor on its log-likelihood in the loss (lambda); a name left out is 1.
            beta: Weight of the divergence in the loss.
            prior: p(z) over L; None is the standard normal, which stays the prior of private latents. A product of
                experts takes N(0, I) for its first expert whatever the prior: it is part of the posterior's form.

        Raises:
            ValueError: When the mappings name different modalities, or none.
        """
        super().__init__()
        if not encoders or set(encoders) != set(decoders):
            raise ValueError(
                f"encoders name {sorted(encoders)}, decoders {sorted(decoders)}: name the same modalities"
            )
        for mapping in (likelihoods or {}, weights or {}):
            self._check_names(mapping, encoders)
        if beta < 0:
            raise ValueError(f"beta must be >= 0, got {beta}")
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.latent_dim, self.beta = latent_dim, beta
        self.prior = prior_or_standard_normal(prior, latent_dim)
        self.likelihoods = nn.ModuleDict(
            {name: (likelihoods or {}).get(name, BernoulliLikelihood()) for name in encoders}
        )
        self.weights = {name: (weights or {}).get(name, 1.0) for name in encoders}

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in order."""
        return tuple(self.encoders)

    def check_modalities(self, given: Mapping[str, object] | Sequence[str]) -> None:
        """Refuse a name that is not a modality of this model, by a `ValueError`."""
        self._check_names(given, self.encoders)

    def forward(self, data: Modalities, present: Presence | None = None) -> MultimodalOutput:
        """Score the present modalities; the caller's mappings are left as they are.

        Raises:
            ValueError: On an unknown modality, differing batch sizes, values a likelihood cannot explain, or a sample
                without any modality.
        """
        return self._score_batch(self.prepare(data, present))

    @abstractmethod
    def _score_batch(self, batch: MaskedBatch) -> MultimodalOutput:
        """The output for checked data, with the objective of the subclass."""

    def joint(
        self, data: Modalities, present: Presence | None = None
    ) -> DiagonalGaussian | GaussianMixture:
        """q(z | the present modalities)."""
        return self.joint_of(self.prepare(data, present))

    @abstractmethod
    def joint_of(self, batch: MaskedBatch) -> DiagonalGaussian | GaussianMixture:
        """q(z | batch) of checked data."""

    @abstractmethod
    def united_of(self, batch: MaskedBatch) -> DiagonalGaussian:
        """The Gaussian whose mode `generate` decodes: q(z | batch), or for a mixture what stands in for it."""

    def latents_of(self, batch: MaskedBatch) -> LatentSet:
        """q(z | batch) by name; models with private latents have more than z."""
        return LatentSet({"z": self.joint_of(batch)})

    def latent_priors(self) -> dict[str, Prior]:
        """p(z) by the names of `latents_of`, and of the private latents of modalities that a batch lacks."""
        return {"z": self.prior}

    def decoder_input(self, name: str, z: Mapping[str, Tensor]) -> Tensor:
        """What the decoder of a modality is given of points (..., L)."""
        return z["z"]

    def united_points(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """The points that `generate` decodes, by name, (n, L)."""
        return {"z": self.united_of(batch).mode}

    def generate(
        self, data: Modalities, targets: Sequence[str], present: Presence | None = None
    ) -> dict[str, Tensor]:
        """Mean of each target modality given all of `data`: reconstruction, or cross-modal generation.

        The shared latent is the mode of `united_of`, in which every given modality has a say.

        Raises:
            ValueError: On an unknown target, and as `forward`.
        """
        self.check_modalities(targets)
        return self._decoded(self.united_points(self.prepare(data, present)), targets)

    def sample(
        self, count: int, generator: torch.Generator | None = None, *, draw: bool = False
    ) -> dict[str, Tensor]:
        """Each modality for `count` draws from the prior: its mean, or with `draw` a draw from p(x_m|z)."""
        like = next(self.parameters())
        check_count(count, "count")
        points = {
            name: prior.sample(count, like, generator)
            for name, prior in self.latent_priors().items()
        }
        if not draw:
            return self._decoded(points, self.names)
        parameters = {
            name: self.decoders[name](self.decoder_input(name, points)) for name in self.names
        }
        return {
            name: self.likelihood(name).sample(each, generator) for name, each in parameters.items()
        }

    def _decoded(self, points: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        return {
            name: self.likelihood(name).mean(self.decoders[name](self.decoder_input(name, points)))
            for name in targets
        }

    def log_weights(
        self, data: Modalities, num_samples: int, present: Presence | None = None
    ) -> Float[Tensor, "k n"]:
        """Log p(x, z_k) - log q(z_k|x) of K draws from the joint posterior, unweighted, for `bounds.iwae`."""
        check_count(num_samples, "num_samples")
        batch = self.prepare(data, present)
        latents, priors = self.latents_of(batch), self.latent_priors()
        z = latents.rsample(num_samples)
        log_prior = sum_of([priors[name].log_prob(point) for name, point in z.items()])
        return sum_of(list(self.score(z, batch).values())) + log_prior - latents.log_prob(z)

    def log_likelihood(
        self, data: Modalities, num_samples: int, present: Presence | None = None
    ) -> Float[Tensor, " n"]:
        """Importance-sampling estimate of log p(present modalities), (n,) nats."""
        return bounds.iwae(self.log_weights(data, num_samples, present))

    def prepare(self, data: Modalities, present: Presence | None = None) -> MaskedBatch:
        """Check one call's data and put zeros where a modality is missing; errors as `forward`."""
        self.check_modalities(data)
        self._check_names(present or {}, data)
        if not data:
            raise ValueError(f"no modality is given: give at least one of {', '.join(self.names)}")
        counts = {len(x) for x in [*data.values(), *(present or {}).values()]}
        if len(counts) != 1:
            raise ValueError(
                f"modalities must have one batch size, got {sorted(counts)}: mark missing ones in present"
            )
        clean, rows = {}, []
        for name in (name for name in self.names if name in data):
            x = data[name]
            row = (present or {}).get(name)
            row = (
                torch.ones(len(x), dtype=torch.bool, device=x.device) if row is None else row.bool()
            )
            clean[name] = torch.where(row.view(-1, *[1] * (x.ndim - 1)), x, 0.0)
            self.likelihood(name).check(clean[name])
            rows.append(row)
        mask = torch.stack(rows)
        if not mask.any(0).all():
            raise ValueError("a sample has no modality at all: drop it from the batch")
        return MaskedBatch(data=clean, present=mask)

    def encode(self, batch: MaskedBatch) -> dict[str, DiagonalGaussian]:
        """q_m(z|x_m) of every modality of the batch; meaningless where missing."""
        return {name: self.encoders[name](x) for name, x in batch.data.items()}

    def score(
        self, z: Mapping[str, Float[Tensor, "... n _"]], batch: MaskedBatch
    ) -> dict[str, Tensor]:
        """Log p(x_m|z) of every modality of the batch, (..., n), 0 where it is missing."""
        scores = {}
        for (name, x), row in zip(batch.data.items(), batch.present, strict=True):
            point = self.decoder_input(name, z)
            if not row.any():
                scores[name] = point.new_zeros(point.shape[:-1])
                continue
            parameters = self.decoders[name](rearrange(point, "... l -> (...) l"))
            parameters = parameters.reshape(*point.shape[:-1], *parameters.shape[1:])
            scores[name] = torch.where(row, self.likelihood(name).log_prob(parameters, x), 0.0)
        return scores

    def weighted(self, scores: Mapping[str, Tensor]) -> Tensor:
        """sum_m lambda_m log p(x_m|z)."""
        return sum_of([self.weights[name] * score for name, score in scores.items()])

    def likelihood(self, name: str) -> Likelihood:
        """The likelihood of a modality."""
        likelihood: Likelihood = self.likelihoods[name]  # type: ignore[assignment]
        return likelihood

    @staticmethod
    def _check_names(
        given: Mapping[str, object] | Sequence[str], known: Mapping[str, object] | nn.ModuleDict
    ) -> None:
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(
                f"unknown modality {', '.join(unknown)}: this model has {', '.join(known)}"
            )
