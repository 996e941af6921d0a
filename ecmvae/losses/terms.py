"""The terms of ECMVAE's objective, in the order in which they are computed and added.

Latent terms are in nats, summed over L and averaged over frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ecmvae.config import Config
from ecmvae.losses import released
from ecmvae.losses.base import BranchName, LossInputs, LossTerm, Need, flat
from ecmvae.losses.latent import MutualInformationBound, info_nce, orthogonality_loss
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
from ecmvae.vae.gaussian import DiagonalGaussian

Formula = Callable[..., Tensor]


class FormulaTerm(LossTerm):
    """A term with two formulas: the mathematics, and the released code's own; ``loss.formulas`` chooses.

    Args:
        weight: See `LossTerm`.
        formula: None is the mathematics.
    """

    formulas: ClassVar[Mapping[str, Formula]]

    def __init__(self, weight: float, formula: Formula | None = None) -> None:
        super().__init__(weight)
        self.formula = formula or self.formulas["principled"]

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the formula of ``loss.formulas``."""
        return [cls(weight, cls.formulas[config.loss.formulas])]


class Structure(FormulaTerm):
    """Mask loss of the prior branch, the one used at test time, over the supervised frames.

    Args:
        weight: See `LossTerm`.
        formula: logits and masks (N, 1, H, W) -> (N,) or a scalar. Of several classes, the logits compare "anything but
            background" with the background.
    """

    name = "structure"
    branch: ClassVar[BranchName] = "prior"
    formulas: ClassVar[Mapping[str, Formula]] = {"principled": structure_loss, "released": released.structure_loss}

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the formula of ``loss.mask`` and ``loss.formulas``."""
        return [cls(weight, binary_cross_entropy)] if config.loss.mask == "bce" else super().from_config(weight, config)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the supervised frames."""
        logits = flat(foreground_logits(inputs.branches[self.branch].logits))
        return self.formula(logits[inputs.supervised], inputs.masks[inputs.supervised]).mean()


class PosteriorStructure(Structure):
    """The same of the posterior branch: the reconstruction term of the conditional ELBO."""

    name = "posterior_structure"
    branch = "posterior"
    needs = ("posterior",)


class CrossEntropy(LossTerm):
    """Cross-entropy over the classes of the prior branch."""

    name = "cross_entropy"
    branch: ClassVar[BranchName] = "prior"
    needs: tuple[Need, ...] = ("classes",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the supervised frames.

        Raises:
            ValueError: When the batch has no labels.
        """
        if inputs.labels is None:
            raise ValueError("a model with several classes learns from labels: load data that has them (avss)")
        logits = flat(inputs.branches[self.branch].logits)
        return class_loss(logits[inputs.supervised], inputs.labels[inputs.supervised]).mean()


class PosteriorCrossEntropy(CrossEntropy):
    """Cross-entropy over the classes of the posterior branch."""

    name = "posterior_cross_entropy"
    branch = "posterior"
    needs = ("posterior", "classes")


class AudioVisualMatching(FormulaTerm):
    """AVSBench's audio-visual matching, summed over the branches.

    Args:
        weight: See `LossTerm`.
        formula: fused maps, the sound at each, logits, form -> (N,).
        form: How the masked visual features and the sound are compared.
    """

    name = "audio_visual_matching"
    formulas: ClassVar[Mapping[str, Formula]] = {
        "principled": audio_visual_matching_loss,
        "released": released.audio_visual_matching_loss,
    }

    def __init__(self, weight: float, formula: Formula | None = None, form: MatchingForm | None = None) -> None:
        super().__init__(weight, formula)
        self.form = form or MatchingForm()

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """With the form of ``loss.audio_visual_matching_*``."""
        loss = config.loss
        form = MatchingForm(
            distance=loss.audio_visual_matching_distance,
            pooling=loss.audio_visual_matching_pooling,
            threshold=loss.audio_visual_matching_threshold,
            normalise=loss.audio_visual_matching_normalise,
        )
        return [cls(weight, cls.formulas[loss.formulas], form)]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over the branches of the mean over the frames."""
        each = []
        for branch in inputs.branches.values():
            fused, sounds = ([inputs.real(stage) for stage in stages] for stages in (branch.fused, branch.audio))
            logits = inputs.real(flat(foreground_logits(branch.logits)))
            each.append(self.formula(fused, sounds, logits, self.form).mean())
        return torch.stack(each).sum()


class SoundMatch(LossTerm):
    """InfoNCE between what sounds and its sound inside the gates, averaged over the branches; not in the paper."""

    name = "match"
    needs = ("matches",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the branches; frames without a mask count as silent, as neither has pixels known to sound."""
        masks = inputs.masks * rearrange(inputs.supervised, "n -> n 1 1 1")
        each = [info_nce(branch.matches, masks, inputs.clips) for branch in inputs.branches.values()]
        return torch.stack(each).mean()


class LatentDivergence(LossTerm):
    """Divergence of the posterior of one latent from its prior, over the frames whose posterior saw a mask.

    Args:
        weight: See `LossTerm`.
        latent: "shared", "visual" or "audio".
        kind: What the formula computes, for the term's name: ``js_shared``, ``kl_visual``.
        formula: posterior and prior -> (N,) nats.
        *arguments: Further arguments of the formula.
    """

    warms_up = True
    formulas: ClassVar[Mapping[tuple[str, str], Formula]] = {
        ("kl", "principled"): DiagonalGaussian.kl,
        ("kl", "released"): released.kl,
        ("js", "principled"): DiagonalGaussian.js,
        ("js", "released"): released.js,
    }

    def __init__(
        self,
        weight: float,
        latent: Literal["shared", "visual", "audio"],
        kind: Literal["js", "kl"] = "kl",
        formula: Formula = DiagonalGaussian.kl,
        *arguments: Any,
    ) -> None:
        super().__init__(weight)
        self.latent, self.formula, self.arguments = latent, formula, arguments
        self.name = f"{kind}_{latent}"
        self.needs = ("posterior",) if latent == "shared" else ("posterior", "factorized")

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """One term for each latent; the shared one's kind is ``model.latent.shared_divergence``."""
        latent, formulas = config.model.latent, config.loss.formulas
        kl = cls.formulas["kl", formulas]
        shared = cls(weight, "shared", "kl", kl)
        if latent.shared_divergence == "js":
            shared = cls(weight, "shared", "js", cls.formulas["js", formulas], latent.js_samples)
        return [shared, cls(weight, "visual", "kl", kl), cls(weight, "audio", "kl", kl)]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the informed frames, in nats."""
        output = inputs.output
        assert output.informed is not None
        posterior, prior = (getattr(each, self.latent) for each in (output.posterior, output.prior))
        divergence = self.formula(posterior, prior, *self.arguments)
        return inputs.real(divergence)[inputs.real(output.informed)].mean()


class Orthogonality(FormulaTerm):
    """Orthogonality of the shared latent and each specific one, summed over the pairs of both branches.

    Args:
        weight: See `LossTerm`.
        formula: Two codes (N, L) -> scalar.
    """

    name = "orthogonality"
    needs = ("posterior", "factorized")
    formulas: ClassVar[Mapping[str, Formula]] = {
        "principled": orthogonality_loss,
        "released": released.orthogonality_loss,
    }

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over (s_v, c) and (s_a, c)."""
        pairs = [(own, drawn.shared) for drawn in inputs.samples.values() for own in (drawn.visual, drawn.audio)]
        return torch.stack([self.formula(own, shared) for own, shared in pairs]).sum()


class MutualInformation(FormulaTerm):
    """Lower bound on the mutual information of the fused latents, summed over the branches; it is to be maximised.

    Args:
        weight: See `LossTerm`; negative, so that minimising the total raises the bound.
        formula: `MutualInformationBound`, visual code, audio code -> scalar.
        latent_dim: L.
        fixed_target: See `MutualInformationBound`.
    """

    name = "mutual_information"
    needs = ("posterior", "factorized")
    state_name = "bounds"
    formulas: ClassVar[Mapping[str, Formula]] = {
        "principled": MutualInformationBound.forward,
        "released": released.mutual_information,
    }

    def __init__(
        self, weight: float, formula: Formula | None = None, *, latent_dim: int, fixed_target: bool = True
    ) -> None:
        super().__init__(weight, formula)
        self.prior = MutualInformationBound(latent_dim, fixed_target=fixed_target)
        self.posterior = MutualInformationBound(latent_dim, fixed_target=fixed_target)

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """The term, its weight negated; none for a model without factorized latents, so that no head stays idle."""
        latent, formulas = config.model.latent, config.loss.formulas
        if latent.kind != "factorized" or not issubclass(MODELS.get(config.model.name), ECMVAE):
            return []
        fixed = formulas == "principled"
        return [cls(-weight, cls.formulas[formulas], latent_dim=latent.dim, fixed_target=fixed)]

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over the branches, in nats."""
        heads: dict[BranchName, MutualInformationBound] = {"prior": self.prior, "posterior": self.posterior}
        bounds = [
            self.formula(heads[name], drawn.fused_visual, drawn.fused_audio) for name, drawn in inputs.samples.items()
        ]
        return torch.stack(bounds).sum()


LOSS_TERMS: Registry[type[LossTerm]] = Registry(
    "loss term",
    {
        "structure": Structure,
        "cross_entropy": CrossEntropy,
        "audio_visual_matching": AudioVisualMatching,
        "match": SoundMatch,
        "posterior_structure": PosteriorStructure,
        "posterior_cross_entropy": PosteriorCrossEntropy,
        "kl": LatentDivergence,
        "orthogonality": Orthogonality,
        "mutual_information": MutualInformation,
    },
    needs=("needs", "from_config"),
)
"""Terms by the name of their weight in ``loss``, in the order in which they are computed and added."""
