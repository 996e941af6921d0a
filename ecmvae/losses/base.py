"""What a loss term is, and what it may look at.

To add a term from outside the package, subclass `LossTerm` and either pass an instance to
`ecmvae.losses.objective.Objective` or name the class in the configuration:
``loss.extra: {my_package.terms:MyTerm: 0.1}``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ecmvae.config import Config
from ecmvae.models.base import BranchOutput, SegmentationOutput
from ecmvae.models.latents import LatentSamples
from ecmvae.types import FrameSubset

Need = Literal[
    "posterior", "factorized", "matches", "classes", "labels", "regions", "names", "sounds"
]
"""What a term may need. posterior: a posterior branch that saw masks. factorized: latents c, s_v and s_a. matches:
fusion by gates. classes: a model with several classes. labels: a batch with the class of each pixel. regions: a model
that decides by regions and a batch whose objects are known. names: a batch with the class of each object.
sounds: a model that decides by regions and a batch with the classes that sound."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LossInputs:
    """What a term is computed from: the model's output and the N = B*T frames of a batch.

    Attributes:
        output: Of the model, with these masks.
        masks: (N, 1, H, W) in {0, 1}.
        known: Frames whose masks count.
        clips: (N,), the clip each frame belongs to.
        labels: (N, H, W) class of each pixel, or None.
        present: Frames that are not padding; None = all.
        objects: (N, H, W) index of the object that each pixel shows, 0 = background, or None.
        classes: For each of the B clips the class of object k at place k-1, "" for none, or None.
        heard: For each of the B clips the classes that sound in each of its T frames, or None.
    """

    output: SegmentationOutput
    masks: Float[Tensor, "n 1 h w"]
    known: FrameSubset
    clips: Int[Tensor, " n"]
    labels: Int[Tensor, "n h w"] | None = None
    present: FrameSubset | None = None
    objects: Int[Tensor, "n h w"] | None = None
    classes: Sequence[Sequence[str]] | None = None
    heard: Sequence[Sequence[Sequence[str]]] | None = None

    @property
    def supervised(self) -> Bool[Tensor, " n"]:
        """(N,), frames whose masks count."""
        return self.known.mask

    @property
    def valid(self) -> Bool[Tensor, " n"] | None:
        """(N,), frames that are not padding; None = all."""
        return None if self.present is None else self.present.mask

    @property
    def branches(self) -> dict[str, BranchOutput]:
        """The branches that ran, "prior" and "posterior"."""
        both = {"prior": self.output.prior_branch, "posterior": self.output.posterior_branch}
        return {name: branch for name, branch in both.items() if branch is not None}

    @property
    def samples(self) -> dict[str, LatentSamples]:
        """The latents that each branch drew, of the frames that are not padding."""
        drawn = {
            name: branch.samples
            for name, branch in self.branches.items()
            if branch.samples is not None
        }
        return (
            drawn
            if self.present is None
            else {name: each.map(self.real) for name, each in drawn.items()}
        )

    def real(self, rows: Float[Tensor, "n ..."]) -> Tensor:
        """Of N rows those whose frame is not padding."""
        return rows if self.present is None else self.present.take(rows)

    def missing(self, needs: Sequence[Need]) -> list[Need]:
        """What of `needs` this model or batch does not have."""
        output, drawn = self.output, self.output.prior_branch.samples
        has: dict[Need, bool] = {
            "posterior": output.posterior is not None,
            "factorized": drawn is not None and drawn.visual is not None,
            "matches": bool(output.prior_branch.matches),
            "classes": output.logits.shape[2] > 1,
            "labels": self.labels is not None,
            "regions": self.objects is not None and output.prior_branch.regions is not None,
            "names": self.classes is not None,
            "sounds": self.heard is not None and output.prior_branch.sounding is not None,
        }
        return [need for need in needs if not has[need]]


class LossTerm(nn.Module, ABC):
    """One term: a subclass sets `name` and `needs` and computes the scalar in `forward`. It may have parameters.

    Args:
        weight: Factor in the total, which is minimised; negative where the term is maximised.

    Attributes:
        name: In logs and in the results.
        needs: The term is left out for a model or batch that lacks one of these.
        warms_up: Whether the weight is multiplied by the KL warm-up factor.
        state_name: Prefix of its parameters in a checkpoint; None is `name`.
    """

    name: str
    needs: tuple[Need, ...] = ()
    warms_up: bool = False
    state_name: str | None = None

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """The terms that a weight in the configuration asks for; override it where a term has settings."""
        return [cls(weight)]

    @abstractmethod
    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """The unweighted value."""


def flat(maps: Float[Tensor, "b t c h w"]) -> Float[Tensor, "n c h w"]:
    """The N = B*T frames of B clips."""
    return rearrange(maps, "b t c h w -> (b t) c h w")
