"""The terms of ECMVAE's objective, in the order in which they are computed and added.

Latent terms are in nats, summed over L and averaged over frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ecmvae.config import Config
from ecmvae.losses import released
from ecmvae.losses.base import LossInputs, LossTerm, Need, flat
from ecmvae.losses.latent import MutualInformationBound, info_nce, orthogonality_loss
from ecmvae.losses.region_terms import Correspondence, Names, Outlines, SameRegion, Sounds
from ecmvae.losses.segmentation import (
    MatchingForm,
    audio_visual_matching_loss,
    binary_cross_entropy,
    class_loss,
    structure_loss,
)
from ecmvae.models.base import MODELS
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.registry import Registry
from ecmvae.vae.conditional import training_kl
from ecmvae.vae.latents import DIVERGENCES, DivergenceName

Formula = Callable[..., Tensor]

FORMULAS: dict[str, dict[str, Formula]] = {
    "principled": {
        "structure": structure_loss,
        "bce": binary_cross_entropy,
        "audio_visual_matching": audio_visual_matching_loss,
        **DIVERGENCES,
        "orthogonality": orthogonality_loss,
        "mutual_information": MutualInformationBound.forward,
    },
    "released": {
        "structure": released.structure_loss,
        "bce": binary_cross_entropy,
        "audio_visual_matching": released.audio_visual_matching_loss,
        **DIVERGENCES,
        "kl": released.kl,
        "js": released.js,
        "orthogonality": released.orthogonality_loss,
        "mutual_information": released.mutual_information,
    },
}
"""The mathematics and the released code's own formulas; ``loss.formulas`` chooses."""


class FormulaTerm(LossTerm):
    """A term of `FORMULAS`.

    Args:
        weight: See `LossTerm`.
        formulas: "principled" or "released".
        key: Of the formula; None = the term's name.
    """

    def __init__(self, weight: float, formulas: str = "principled", key: str | None = None) -> None:
        super().__init__(weight)
        self.formula = FORMULAS[formulas][key or self.name]

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the formula of ``loss.formulas``."""
        return [cls(weight, config.loss.formulas)]


class Structure(FormulaTerm):
    """Mask loss of the prior branch, the one used at test time, over the supervised frames.

    Of several classes, the logits compare "anything but background" with the background.
    """

    name = "structure"
    branch = "prior"

    def __init__(
        self, weight: float, formulas: str = "principled", key: str | None = "structure"
    ) -> None:
        super().__init__(weight, formulas, key)

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the formula of ``loss.mask`` and ``loss.formulas``."""
        return [cls(weight, config.loss.formulas, config.loss.mask)]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the supervised frames."""
        logits = flat(foreground_logits(inputs.branches[self.branch].logits))
        return self.formula(inputs.known.take(logits), inputs.known.take(inputs.masks)).mean()


class PosteriorStructure(Structure):
    """The same of the posterior branch: the reconstruction term of the conditional ELBO."""

    name = "posterior_structure"
    branch = "posterior"
    needs = ("posterior",)


class CrossEntropy(LossTerm):
    """Cross-entropy over the classes of the prior branch."""

    name = "cross_entropy"
    branch = "prior"
    needs: tuple[Need, ...] = ("classes",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the supervised frames.

        Raises:
            ValueError: If the batch has no labels.
        """
        if inputs.labels is None:
            raise ValueError(
                "a model with several classes learns from labels: load data that has them (avss)"
            )
        logits = flat(inputs.branches[self.branch].logits)
        return class_loss(inputs.known.take(logits), inputs.known.take(inputs.labels)).mean()


class PosteriorCrossEntropy(CrossEntropy):
    """Cross-entropy over the classes of the posterior branch."""

    name = "posterior_cross_entropy"
    branch = "posterior"
    needs = ("posterior", "classes")


class AudioVisualMatching(FormulaTerm):
    """AVSBench's audio-visual matching, summed over the branches; `form` says how the two are compared."""

    name = "audio_visual_matching"
    form = MatchingForm()

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the formula and the form of ``loss.formulas`` and ``loss.audio_visual_matching_*``."""
        term, loss = cls(weight, config.loss.formulas), config.loss
        term.form = MatchingForm(
            distance=loss.audio_visual_matching_distance,
            pooling=loss.audio_visual_matching_pooling,
            threshold=loss.audio_visual_matching_threshold,
            normalise=loss.audio_visual_matching_normalise,
        )
        return [term]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over the branches of the mean over the frames."""
        each = []
        for branch in inputs.branches.values():
            fused, sounds = (
                [inputs.real(stage) for stage in stages] for stages in (branch.fused, branch.audio)
            )
            logits = inputs.real(flat(foreground_logits(branch.logits)))
            each.append(self.formula(fused, sounds, logits, self.form).mean())
        return torch.stack(each).sum()


class SoundMatch(LossTerm):
    """InfoNCE between what sounds and its sound inside the gates of each branch that has them; not in the paper."""

    name = "match"
    needs = ("matches",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the branches; frames without a mask count as silent, as neither has pixels known to sound."""
        masks = inputs.masks * rearrange(inputs.supervised, "n -> n 1 1 1")
        each = [
            info_nce(branch.matches, masks, inputs.clips)
            for branch in inputs.branches.values()
            if branch.matches
        ]
        return torch.stack(each).mean()


class LatentDivergence(LossTerm):
    """Divergence of the posterior of one latent from its prior, over the frames whose posterior saw a mask.

    Args:
        weight: See `LossTerm`.
        latent: "shared", "visual" or "audio".
        kind: What the formula computes, for the term's name: ``js_shared``, ``kl_visual``.
        formula: posterior and prior -> (N,) nats.
    """

    warms_up = True

    def __init__(
        self,
        weight: float,
        latent: Literal["shared", "visual", "audio"],
        kind: DivergenceName,
        formula: Formula,
    ) -> None:
        super().__init__(weight)
        self.latent, self.formula = latent, formula
        self.name = f"{kind}_{latent}"
        self.needs = ("posterior",) if latent == "shared" else ("posterior", "factorized")

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """One term for each latent; the shared one's kind is ``model.latent.shared_divergence``."""
        latent, formulas = (
            config.model.latent,
            {**FORMULAS[config.loss.formulas], **_changed_kl(config)},
        )
        shared = formulas[latent.shared_divergence]
        if latent.shared_divergence in ("js", "dimension_js"):
            shared = partial(shared, num_samples=latent.js_samples)
        return [
            cls(weight, "shared", latent.shared_divergence, shared),
            cls(weight, "visual", "kl", formulas["kl"]),
            cls(weight, "audio", "kl", formulas["kl"]),
        ]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the informed frames, in nats."""
        output = inputs.output
        assert output.informed is not None
        assert output.posterior is not None
        assert output.prior is not None
        divergence = self.formula(
            output.posterior.gaussian(self.latent), output.prior.gaussian(self.latent)
        )
        counted = output.informed if inputs.valid is None else output.informed & inputs.valid
        return divergence.masked_fill(~counted, 0).sum() / counted.sum()


def _changed_kl(config: Config) -> dict[str, Formula]:
    """The KL that ``loss.free_bits`` and ``loss.kl_balance`` ask for; empty where the plain one stays."""
    nats, balance = config.loss.free_bits, config.loss.kl_balance
    if nats == 0 and balance is None:
        return {}
    return {"kl": partial(training_kl, free_nats=nats, balance=balance)}


class Orthogonality(FormulaTerm):
    """Orthogonality of the shared latent and each specific one, summed over the pairs of both branches."""

    name = "orthogonality"
    needs = ("posterior", "factorized")

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over (s_v, c) and (s_a, c)."""
        pairs = [
            (own, drawn.shared)
            for drawn in inputs.samples.values()
            for own in (drawn.visual, drawn.audio)
        ]
        return torch.stack([self.formula(own, shared) for own, shared in pairs]).sum()


class MutualInformation(FormulaTerm):
    """Lower bound on the mutual information of the fused latents, summed over the branches; it is to be maximised.

    Args:
        weight: See `LossTerm`; negative, so that minimising the total raises the bound.
        formulas: "principled", or "released", which also trains the bound's target; see `MutualInformationBound`.
        latent_dim: L.
    """

    name = "mutual_information"
    needs = ("posterior", "factorized")
    state_name = "bounds"

    def __init__(self, weight: float, formulas: str = "principled", *, latent_dim: int) -> None:
        super().__init__(weight, formulas)
        self.prior = MutualInformationBound(latent_dim, fixed_target=formulas == "principled")
        self.posterior = MutualInformationBound(latent_dim, fixed_target=formulas == "principled")

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """The term, its weight negated; none for a model without factorized latents, so that no head stays idle."""
        latent = config.model.latent
        if latent.kind != "factorized" or not issubclass(MODELS.get(config.model.name), ECMVAE):
            return []
        return [cls(-weight, config.loss.formulas, latent_dim=latent.dim)]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over the branches, in nats."""
        bounds = [
            self.formula(getattr(self, branch), drawn.fused_visual, drawn.fused_audio)
            for branch, drawn in inputs.samples.items()
        ]
        return torch.stack(bounds).sum()


LOSS_TERMS: Registry[type[LossTerm]] = Registry(
    "loss term",
    {
        "structure": Structure,
        "cross_entropy": CrossEntropy,
        "audio_visual_matching": AudioVisualMatching,
        "match": SoundMatch,
        "outlines": Outlines,
        "regions": SameRegion,
        "correspondence": Correspondence,
        "names": Names,
        "sounds": Sounds,
        "posterior_structure": PosteriorStructure,
        "posterior_cross_entropy": PosteriorCrossEntropy,
        "kl": LatentDivergence,
        "orthogonality": Orthogonality,
        "mutual_information": MutualInformation,
    },
    needs=("needs", "from_config"),
)
"""Terms by the name of their weight in ``loss``, in the order in which they are computed and added."""
