"""Coherence: do generated modalities show what the given ones show, and do joint samples agree with each other?

Shi et al., 2019 (arXiv:1911.03393) for joint and cross-modal coherence; Sutter et al., 2021 (arXiv:2105.02470) for
every subset of given modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Int
from torch import Tensor

from ecmvae.vae.gaussian import check_count
from ecmvae.vae.multimodal.base import Modalities, MultimodalVAE

Labeller = Callable[[Tensor], Tensor]
"""Data (n, *event) of one modality -> its labels (n,), whole numbers, or a classifier's scores (n, classes)."""


@dataclass(frozen=True, kw_only=True)
class CoherenceReport:
    """Shares between 0 and 1.

    Attributes:
        joint: Samples from the prior in which all modalities have one label.
        conditional: Given modalities -> target -> generated targets with the true label; targets among the given are
            reconstructions.
    """

    joint: float
    conditional: Mapping[tuple[str, ...], Mapping[str, float]]

    def cross_modal(self, given: int) -> float:
        """Mean coherence of the targets that were not given, over all subsets of `given` modalities.

        Raises:
            ValueError: When no such subset was scored.
        """
        shares = [
            share
            for subset, table in self.conditional.items()
            for target, share in table.items()
            if len(subset) == given and target not in subset
        ]
        if not shares:
            raise ValueError(f"no subset of {given} modalities with a target outside it was scored")
        return sum(shares) / len(shares)


@torch.no_grad()
def conditional_coherence(
    model: MultimodalVAE,
    data: Modalities,
    labels: Int[Tensor, " n"],
    labellers: Mapping[str, Labeller],
    given: Sequence[str],
    *,
    batch_size: int = 500,
) -> dict[str, float]:
    """Share of the samples whose modality, generated from the given ones, has the true label.

    Args:
        model: In eval mode.
        data: At least the given modalities.
        labels: True labels.
        labellers: Target -> what reads its label; there must be one for each target, and there may be fewer targets
            than modalities.
        given: Names of the given modalities, one at least.
        batch_size: Samples generated at once.

    Returns:
        Target -> share.

    Raises:
        ValueError: For an unknown modality, none given, or a labeller that does not give one label a sample.
    """
    if not given:
        raise ValueError(f"no modality is given: give at least one of {', '.join(model.names)}")
    if missing := sorted(set(given) - set(data)):
        raise ValueError(f"the data lacks {', '.join(missing)}: it has {', '.join(data)}")
    check_count(len(labels), "the number of samples")
    right = dict.fromkeys(labellers, 0)
    for index in torch.split(torch.arange(len(labels)), check_count(batch_size, "batch_size")):
        generated = model.generate({name: data[name][index] for name in given}, list(labellers))
        for name, labeller in labellers.items():
            right[name] += int((labels_of(labeller, generated[name], name) == labels[index]).sum())
    return {name: count / len(labels) for name, count in right.items()}


@torch.no_grad()
def joint_coherence(
    model: MultimodalVAE,
    labellers: Mapping[str, Labeller],
    count: int = 1000,
    generator: torch.Generator | None = None,
) -> float:
    """Share of `count` samples from the prior in which the labels of all modalities of `labellers` agree.

    Raises:
        ValueError: With fewer than two labellers, an unknown modality, or `count` below 1.
    """
    if len(labellers) < 2:
        raise ValueError("joint coherence compares modalities: give labellers of at least two")
    model.check_modalities(labellers)
    samples = model.sample(count, generator)
    labels = torch.stack(
        [labels_of(labeller, samples[name], name) for name, labeller in labellers.items()]
    )
    return float((labels == labels[0]).all(0).float().mean())


def coherence(
    model: MultimodalVAE,
    data: Modalities,
    labels: Int[Tensor, " n"],
    labellers: Mapping[str, Labeller],
    *,
    subsets: Sequence[Sequence[str]] | None = None,
    num_samples: int = 1000,
    generator: torch.Generator | None = None,
) -> CoherenceReport:
    """Joint coherence, and conditional coherence by subset of given modalities.

    Args:
        model: In eval mode.
        data: Every modality of the subsets.
        labels: True labels.
        labellers: Modality -> what reads its label.
        subsets: Which modalities are given; None is every non-empty subset of the data's, 2^M - 1 of them.
        num_samples: Draws from the prior for the joint coherence.
        generator: Source of these draws.

    Raises:
        ValueError: As `conditional_coherence` and `joint_coherence`.
    """
    if subsets is None:
        subsets = [
            chosen for size in range(1, len(data) + 1) for chosen in combinations(data, size)
        ]
    return CoherenceReport(
        joint=joint_coherence(model, labellers, num_samples, generator),
        conditional={
            tuple(subset): conditional_coherence(model, data, labels, labellers, subset)
            for subset in subsets
        },
    )


def labels_of(labeller: Labeller, x: Tensor, name: str) -> Int[Tensor, " n"]:
    """Labels (n,) of data (n, *event): what the labeller gives, or the arg max of its scores.

    Raises:
        ValueError: When the labeller gives neither.
    """
    found = labeller(x)
    if found.ndim == 2 and len(found) == len(x):
        return found.argmax(1)
    if found.shape != x.shape[:1] or found.is_floating_point():
        raise ValueError(
            f"the labeller of {name} gave {tuple(found.shape)} {found.dtype} for {len(x)} samples: give whole numbers "
            "(n,) or scores (n, classes)"
        )
    return found
