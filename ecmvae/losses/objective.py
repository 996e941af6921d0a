"""ECMVAE's objective: a weighted list of terms, by default the negative conditional ELBO and its regularisers.

Mao et al., ICCV 2023, arXiv 2310.08303.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.losses.base import LossInputs, LossTerm, Need
from ecmvae.losses.terms import LOSS_TERMS
from ecmvae.models.base import SegmentationOutput
from ecmvae.types import FrameSubset, as_subset


@dataclass(frozen=True)
class LossValues:
    """The unweighted scalar of each term that was computed, and its factor in `total`, negative if it is maximised."""

    values: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def total(self) -> Tensor:
        """The scalar to minimise.

        Raises:
            UserError: If every term has weight 0 or needs something that the model does not have.
        """
        if not self.values:
            raise UserError(
                "nothing to learn from: every loss term is off; set loss.structure above 0"
            )
        return torch.stack(
            [self.weights[name] * value for name, value in self.values.items()]
        ).sum()

    def named(self) -> dict[str, Tensor]:
        """The unweighted terms and the total, detached, for logging."""
        return {
            **{name: value.detach() for name, value in self.values.items()},
            "total": self.total.detach(),
        }


class Objective(nn.Module):
    """A weighted list of terms. A term whose needs the model or the batch does not meet is left out.

    With latents, `posterior_structure` + `kl` is the negative conditional ELBO; `structure` trains the prior branch,
    which is the one used at test time.

    Args:
        terms: In the order in which they are computed and added.

    Raises:
        ValueError: If two terms have one name, or a term needs something unknown.
    """

    def __init__(self, terms: Sequence[LossTerm]) -> None:
        super().__init__()
        self.terms = tuple(terms)
        for term in self.terms:
            if unknown := set(term.needs) - set(get_args(Need)):
                raise ValueError(
                    f"{term.name} needs {', '.join(unknown)}: choose from {', '.join(get_args(Need))}"
                )
            if hasattr(self, term.state_name or term.name):
                raise ValueError(
                    f"there is a loss term named {term.name!r} already: choose another name"
                )
            self.add_module(term.state_name or term.name, term)

    @classmethod
    def from_config(cls, config: Config) -> Objective:
        """The objective that ``loss`` describes; a term of weight 0 is not built.

        Raises:
            UserError: If ``loss.extra`` names something that is not a loss term.
        """
        weights = {
            name: getattr(config.loss, name) for name in LOSS_TERMS if hasattr(config.loss, name)
        }
        asked = [*weights.items(), *config.loss.extra.items()]
        terms = [
            LOSS_TERMS.get(name).from_config(weight, config) for name, weight in asked if weight
        ]
        return cls([term for several in terms for term in several])

    def forward(
        self,
        output: SegmentationOutput,
        masks: Float[Tensor, "b t 1 h w"],
        supervised: Bool[Tensor, "b t"] | FrameSubset | None = None,
        kl_factor: float = 1.0,
        *,
        labels: Int[Tensor, "b t h w"] | None = None,
        valid: Bool[Tensor, "b t"] | FrameSubset | None = None,
        objects: Int[Tensor, "b t h w"] | None = None,
        classes: Sequence[Sequence[str]] | None = None,
        heard: Sequence[Sequence[Sequence[str]]] | None = None,
    ) -> LossValues:
        """Compute the terms.

        Args:
            output: Of the model's forward with these masks.
            masks: (B, T, 1, H, W) in {0, 1}.
            supervised: (B, T), frames whose masks count, or the `FrameSubset` of them, with which a GPU need not be
                waited for; None = all.
            kl_factor: Warm-up of the KL weight, 0 to 1.
            labels: (B, T, H, W) class of each pixel; needed by a model with several classes.
            valid: Frames that are not padding, likewise; the others count nowhere. None = all.
            objects: (B, T, H, W) index of the object that each pixel shows, 0 = background; None where unknown.
            classes: Of B clips, each the class of object k at place k-1, "" for none; None where unknown.
            heard: Of B clips, each the classes that sound in each of T frames; None where unknown.

        Raises:
            ValueError: If the model has several classes and `labels` is missing.
        """
        inputs = LossInputs(
            output=output,
            masks=masks.flatten(0, 1),
            known=FrameSubset.all_of(masks[:, :, 0, 0, 0])
            if supervised is None
            else as_subset(supervised),
            clips=torch.arange(len(masks), device=masks.device).repeat_interleave(masks.shape[1]),
            labels=None if labels is None else labels.flatten(0, 1),
            present=None if valid is None else as_subset(valid),
            objects=None if objects is None else objects.flatten(0, 1),
            classes=classes,
            heard=heard,
        )
        terms = [term for term in self.terms if not inputs.missing(term.needs)]
        return LossValues(
            values={term.name: term(inputs) for term in terms},
            weights={
                term.name: term.weight * kl_factor if term.warms_up else term.weight
                for term in terms
            },
        )
