"""The formulas of the released ECMVAE code, quirks and all; ``loss.formulas: released`` puts them into the objective.

They are here to reproduce and to measure, not to recommend: `ecmvae.losses.segmentation` and `ecmvae.losses.latent`
hold the mathematics. Each function names its quirk in one line; docs/method.md gives the measured effects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ecmvae.losses.latent import MutualInformationBound, cross_covariance
from ecmvae.losses.segmentation import (
    MatchingForm,
    boundary_weight,
    smooth_labels,
    weighted_soft_iou,
)
from ecmvae.vae.gaussian import DiagonalGaussian


def structure_loss(
    logits: Float[Tensor, "n 1 h w"], masks: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, " n"]:
    """Structure loss of each frame.

    Quirk: the BCE is averaged before it is weighted, so its weights cancel and it is the plain mean of the batch.
    """
    bce = F.binary_cross_entropy_with_logits(logits, smooth_labels(masks))
    return bce + weighted_soft_iou(logits, masks, boundary_weight(masks))


def kl(posterior: DiagonalGaussian, prior: DiagonalGaussian) -> Float[Tensor, " n"]:
    """KL(posterior || prior) of each frame, in nats.

    Quirk: exp(logvar) is taken for the standard deviation, while samples are drawn with exp(logvar / 2).
    """
    return DiagonalGaussian(posterior.mean, 2 * posterior.logvar).kl(
        DiagonalGaussian(prior.mean, 2 * prior.logvar)
    )


def js(
    posterior: DiagonalGaussian, prior: DiagonalGaussian, num_samples: int = 1
) -> Float[Tensor, " n"]:
    """What the released code calls Jensen-Shannon divergence, of each frame.

    Quirk: either density is taken at a sample of its own and their mean stands for the mixture, so the value is not 0
    for equal distributions and has no bound. The samples carry no gradient.
    """
    draws = [
        [_log_densities(each, each.rsample().detach()) for each in (prior, posterior)]
        for _ in range(num_samples)
    ]
    logs = torch.stack([torch.stack(pair) for pair in draws])  # (K, 2, N, L)
    mixture = logs.logsumexp(1, keepdim=True) - math.log(2)
    return 0.5 * (logs.exp() * (logs - mixture)).sum((1, 3)).mean(0)


def mutual_information(
    bound: MutualInformationBound, visual: Float[Tensor, "n l"], audio: Float[Tensor, "n l"]
) -> Float[Tensor, ""]:
    """The exponent of log q(t | z_v), averaged over the batch: at most 0, and higher is better.

    Quirk: without the normaliser of q its variance grows to its limit at no cost; with a bound whose target is not
    fixed, both sides can also agree on a constant.
    """
    conditional, target = bound.project(visual, audio)
    return (-0.5 * (conditional.mean - target).square() / conditional.logvar.exp()).sum(1).mean()


def orthogonality_loss(
    first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]
) -> Float[Tensor, ""]:
    """Squared entries of the cross-covariance.

    Quirk: their mean, not their sum: 256 times smaller at L = 16 than the squared Frobenius norm.
    """
    return cross_covariance(first, second).square().mean()


def audio_visual_matching_loss(
    fused: Sequence[Tensor],
    audio: Sequence[Tensor],
    logits: Float[Tensor, "n 1 h w"],
    form: MatchingForm | None = None,
) -> Float[Tensor, " n"]:
    """The audio-visual matching term of each frame; KL is multiplied by the number of frames.

    Quirks: logits are pooled before the sigmoid, and KL is summed up over the frames, so it grows with the batch (the
    factor N makes the mean over frames that sum); the other distances are not.
    """
    form = form or MatchingForm()
    stages = zip(fused, audio, strict=True)
    terms = [
        form.compare(stage, sound, form.pool(logits, stage).sigmoid()) for stage, sound in stages
    ]
    return torch.stack(terms).mean(0) * (len(logits) if form.distance == "kl" else 1)


def _log_densities(distribution: DiagonalGaussian, z: Float[Tensor, "n l"]) -> Float[Tensor, "n l"]:
    """Log-density of each of the L entries by itself."""
    entries = DiagonalGaussian(distribution.mean.unsqueeze(-1), distribution.logvar.unsqueeze(-1))
    return entries.log_prob(z.unsqueeze(-1))
