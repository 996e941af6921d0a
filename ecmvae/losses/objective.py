"""ECMVAE's objective: the negative conditional ELBO and its regularisers, every term by name.

Mao et al., ICCV 2023, arXiv 2310.08303. Latent terms are in nats, summed over L and averaged over frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ecmvae.config import Config, LossConfig
from ecmvae.errors import UserError
from ecmvae.losses import released
from ecmvae.losses.latent import MutualInformationBound, info_nce, orthogonality_loss
from ecmvae.losses.segmentation import (
    MatchingForm,
    audio_visual_matching_loss,
    binary_cross_entropy,
    class_loss,
    structure_loss,
)
from ecmvae.models.base import BranchOutput, SegmentationOutput
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.latents import FactorizedLatents, LatentSamples
from ecmvae.vae.gaussian import DiagonalGaussian


@dataclass(frozen=True)
class LossTerms:
    """Named scalars, each unweighted, and what each counts for in the total.

    Attributes:
        values: Scalar of each term, only of those that were computed.
        weights: Factor of each term in `total`; negative where the term is maximised.
    """

    values: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def total(self) -> Tensor:
        """The scalar to minimise.

        Raises:
            UserError: When every term has weight 0 or needs what the model has not.
        """
        if not self.values:
            raise UserError("nothing to learn from: every loss term is off; set loss.structure above 0")
        weighted = [self.weights[name] * value for name, value in self.values.items()]
        return torch.stack(weighted).sum()

    def named(self) -> dict[str, Tensor]:
        """The unweighted terms and the total, detached, for logging."""
        return {**{name: value.detach() for name, value in self.values.items()}, "total": self.total.detach()}


@dataclass(frozen=True)
class Formulas:
    """The functions behind the terms; every choice of ``loss.formulas`` is one such set.

    Attributes:
        structure: logits, masks -> (N,) or a scalar.
        audio_visual_matching: fused maps, the sound at each, logits, `MatchingForm` -> (N,).
        kl: posterior, prior -> (N,).
        js: posterior, prior, number of samples -> (N,).
        orthogonality: two codes -> scalar.
        mutual_information: `MutualInformationBound`, visual code, audio code -> scalar.
    """

    structure: Callable[[Tensor, Tensor], Tensor]
    audio_visual_matching: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor, MatchingForm], Tensor]
    kl: Callable[[DiagonalGaussian, DiagonalGaussian], Tensor]
    js: Callable[[DiagonalGaussian, DiagonalGaussian, int], Tensor]
    orthogonality: Callable[[Tensor, Tensor], Tensor]
    mutual_information: Callable[[Any, Tensor, Tensor], Tensor]


FORMULAS = {
    "principled": Formulas(
        structure=structure_loss,
        audio_visual_matching=audio_visual_matching_loss,
        kl=lambda posterior, prior: posterior.kl(prior),
        js=lambda posterior, prior, num_samples: posterior.js(prior, num_samples),
        orthogonality=orthogonality_loss,
        mutual_information=lambda bound, visual, audio: bound(visual, audio),
    ),
    "released": Formulas(
        structure=released.structure_loss,
        audio_visual_matching=released.audio_visual_matching_loss,
        kl=released.kl,
        js=released.js,
        orthogonality=released.orthogonality_loss,
        mutual_information=released.mutual_information,
    ),
}


class ECMVAELoss(nn.Module):
    """Weighs the terms; a term of weight 0 is not computed.

    With latents, `posterior_structure` + `kl` is the negative conditional ELBO; `structure` trains the prior branch,
    which is the one used at test time.

    Args:
        weights: Weight of each term.
        latent_kind: "factorized", "single" or "none".
        latent_dim: L.
        shared_divergence: "js" or "kl", between posterior and prior of the shared latent.
        js_samples: Monte Carlo samples of the Jensen-Shannon divergence.
    """

    def __init__(
        self,
        weights: LossConfig,
        *,
        latent_kind: str = "factorized",
        latent_dim: int = 16,
        shared_divergence: str = "js",
        js_samples: int = 1,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.formulas = FORMULAS[weights.formulas]
        self.mask_loss = binary_cross_entropy if weights.mask == "bce" else self.formulas.structure
        self.matching_form = MatchingForm(
            distance=weights.audio_visual_matching_distance,
            pooling=weights.audio_visual_matching_pooling,
            threshold=weights.audio_visual_matching_threshold,
            normalise=weights.audio_visual_matching_normalise,
        )
        self.shared_divergence = shared_divergence
        self.js_samples = js_samples
        self.bounds = nn.ModuleDict()
        if latent_kind == "factorized" and weights.mutual_information > 0:
            self.bounds = nn.ModuleDict(
                {
                    branch: MutualInformationBound(latent_dim, fixed_target=weights.formulas == "principled")
                    for branch in ("prior", "posterior")
                }
            )

    @classmethod
    def from_config(cls, config: Config) -> ECMVAELoss:
        """The loss a run's configuration describes."""
        latent = config.model.latent
        return cls(
            config.loss,
            latent_kind=latent.kind if config.model.name == "ecmvae" else "none",
            latent_dim=latent.dim,
            shared_divergence=latent.shared_divergence,
            js_samples=latent.js_samples,
        )

    def forward(
        self,
        output: SegmentationOutput,
        masks: Float[Tensor, "b t 1 h w"],
        supervised: Bool[Tensor, "b t"] | None = None,
        kl_factor: float = 1.0,
        *,
        labels: Int[Tensor, "b t h w"] | None = None,
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> LossTerms:
        """Compute the terms.

        Args:
            output: Of `ECMVAE.forward` with these masks.
            masks: (B, T, 1, H, W) in {0, 1}.
            supervised: (B, T), frames whose masks count; None = all.
            kl_factor: Warm-up of the KL weight, 0 to 1.
            labels: (B, T, H, W) class of each pixel; needed by a model with several classes.
            valid: (B, T), frames that are no padding; the others count nowhere. None = all.

        Returns:
            The named terms.

        Raises:
            ValueError: When the model tells classes apart and `labels` is missing.
        """
        weights = self.weights
        known = torch.ones_like(masks[:, :, 0, 0, 0], dtype=torch.bool) if supervised is None else supervised
        flat_known, flat_masks = rearrange(known, "b t -> (b t)"), rearrange(masks, "b t c h w -> (b t) c h w")
        values: dict[str, Tensor] = {}
        factors: dict[str, float] = {}

        def add(name: str, weight: float, value: Tensor) -> None:
            values[name], factors[name] = value, weight

        def branches() -> dict[str, BranchOutput]:
            both = {"prior": output.prior_branch, "posterior": output.posterior_branch}
            return {name: branch for name, branch in both.items() if branch is not None}

        def real(rows: Tensor) -> Tensor:
            """Of N rows those whose frame is no padding."""
            return rows if valid is None else rows[rearrange(valid, "b t -> (b t)")]

        def mask_loss(branch: BranchOutput) -> Tensor:
            logits = rearrange(foreground_logits(branch.logits), "b t c h w -> (b t) c h w")
            return self.mask_loss(logits[flat_known], flat_masks[flat_known]).mean()

        def cross_entropy(branch: BranchOutput) -> Tensor:
            if labels is None:
                raise ValueError("a model with several classes learns from labels: load data that has them (avss)")
            logits = rearrange(branch.logits, "b t c h w -> (b t) c h w")
            return class_loss(logits[flat_known], rearrange(labels, "b t h w -> (b t) h w")[flat_known]).mean()

        several = output.logits.shape[2] > 1
        if weights.structure > 0:
            add("structure", weights.structure, mask_loss(output.prior_branch))
        if weights.cross_entropy > 0 and several:
            add("cross_entropy", weights.cross_entropy, cross_entropy(output.prior_branch))
        if weights.audio_visual_matching > 0:
            each = []
            for branch in branches().values():
                flat_logits = rearrange(foreground_logits(branch.logits), "b t c h w -> (b t) c h w")
                fused, sounds = ([real(stage) for stage in stages] for stages in (branch.fused, branch.audio))
                each.append(
                    self.formulas.audio_visual_matching(fused, sounds, real(flat_logits), self.matching_form).mean()
                )
            add("audio_visual_matching", weights.audio_visual_matching, torch.stack(each).sum())
        if weights.match > 0 and output.prior_branch.matches:
            # Unlabelled frames count as silent ones: neither has pixels that are known to sound.
            labelled = flat_masks * rearrange(flat_known, "n -> n 1 1 1")
            clips = torch.arange(len(masks), device=masks.device).repeat_interleave(masks.shape[1])
            each = [info_nce(branch.matches, labelled, clips) for branch in branches().values()]
            add("match", weights.match, torch.stack(each).mean())
        if output.posterior is None or output.prior is None or output.posterior_branch is None:
            return LossTerms(values, factors)

        if weights.posterior_structure > 0:
            add("posterior_structure", weights.posterior_structure, mask_loss(output.posterior_branch))
        if weights.posterior_cross_entropy > 0 and several:
            add("posterior_cross_entropy", weights.posterior_cross_entropy, cross_entropy(output.posterior_branch))
        if weights.kl > 0:
            assert output.informed is not None
            informed = real(output.informed)
            divergences = self.divergences(output.posterior, output.prior)
            for name, divergence in divergences.items():
                add(name, weights.kl * kl_factor, real(divergence)[informed].mean())
        samples = {
            name: branch.samples if valid is None or branch.samples is None else branch.samples.at(valid.flatten())
            for name, branch in branches().items()
        }
        if weights.orthogonality > 0:
            pairs = [pair for drawn in samples.values() if drawn is not None for pair in _shared_and_specific(drawn)]
            if pairs:
                add(
                    "orthogonality",
                    weights.orthogonality,
                    torch.stack([self.formulas.orthogonality(specific, shared) for specific, shared in pairs]).sum(),
                )
        if self.bounds:
            bounds = [
                self.formulas.mutual_information(self.bounds[name], drawn.fused_visual, drawn.fused_audio)
                for name, drawn in samples.items()
                if drawn is not None
            ]
            # The bound is maximised: its weight enters the minimised total with a minus sign.
            add("mutual_information", -weights.mutual_information, torch.stack(bounds).sum())
        return LossTerms(values, factors)

    def divergences(self, posterior: FactorizedLatents, prior: FactorizedLatents) -> dict[str, Tensor]:
        """Divergence of the posterior from the prior for each latent and frame, (N,) nats."""
        ours, theirs = posterior.named(), prior.named()
        computed = {}
        for name in ours:
            if name == "shared" and self.shared_divergence == "js":
                computed["js_shared"] = self.formulas.js(ours[name], theirs[name], self.js_samples)
            else:
                computed[f"kl_{name}"] = self.formulas.kl(ours[name], theirs[name])
        return computed


def _shared_and_specific(drawn: LatentSamples) -> list[tuple[Tensor, Tensor]]:
    """The pairs that are to be orthogonal: (s_v, c) and (s_a, c); none with one joint latent."""
    return [(specific, drawn.shared) for specific in (drawn.visual, drawn.audio) if specific is not None]
