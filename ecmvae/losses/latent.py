"""Regularisers on the latents: orthogonality of shared and specific codes, and mutual information of the fused ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.models.fusion import Match
from ecmvae.vae import bounds
from ecmvae.vae.gaussian import DiagonalGaussian

_EPSILON = 1e-6


def cross_covariance(
    first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]
) -> Float[Tensor, "a b"]:
    """A^T B of two batches of codes, centred over the batch and scaled to rows of length 1 (the length is detached).

    It is 0 for a single row, whatever the codes.
    """
    rows = []
    for codes in (first, second):
        centred = codes - codes.mean(0, keepdim=True)
        rows.append(centred / (centred.detach().norm(dim=1, keepdim=True) + _EPSILON))
    first_rows, second_rows = rows
    return torch.einsum("na,nb->ab", first_rows, second_rows)


def orthogonality_loss(
    first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]
) -> Float[Tensor, ""]:
    """Squared Frobenius norm of the cross-covariance of two codes: 0 when they are linearly unrelated.

    The "difference loss" of domain separation networks (Bousmalis et al., NeurIPS 2016, arXiv 1608.06019, eq. 5). Its
    scale grows with the batch.
    """
    return cross_covariance(first, second).square().sum()


class MutualInformationBound(nn.Module):
    """Barber-Agakov lower bound on what the visual code tells about the audio code, up to the constant H(t).

    ``I(z_v; t) >= H(t) + E log q(t | z_v)`` with t = tanh(W z_a) and q a diagonal Gaussian whose mean and log-variance
    are tanh of linear maps of z_v. W is fixed at its random start and t is detached: H(t) is then a constant that
    training cannot lower, so the bound cannot be raised by collapsing t.

    Args:
        latent_dim: L of z_v and z_a.
        dim: Width of t; 6 in the released configuration.
        fixed_target: False lets W train and t carry gradient, as the released code does.
    """

    def __init__(self, latent_dim: int, dim: int = 6, *, fixed_target: bool = True) -> None:
        super().__init__()
        self.mean = nn.Linear(latent_dim, dim)
        self.logvar = nn.Linear(latent_dim, dim)
        self.target = nn.Linear(latent_dim, dim).requires_grad_(not fixed_target)
        self.fixed_target = fixed_target

    def project(
        self, visual: Float[Tensor, "n l"], audio: Float[Tensor, "n l"]
    ) -> tuple[DiagonalGaussian, Float[Tensor, "n d"]]:
        """The conditional q(t | z_v), and t."""
        conditional = DiagonalGaussian(
            torch.tanh(self.mean(visual)), torch.tanh(self.logvar(visual))
        )
        return conditional, torch.tanh(self.target(audio.detach() if self.fixed_target else audio))

    def forward(
        self, visual: Float[Tensor, "n l"], audio: Float[Tensor, "n l"]
    ) -> Float[Tensor, ""]:
        """Mean log q(t | z_v) over the batch, in nats; higher is better."""
        conditional, target = self.project(visual, audio)
        return bounds.barber_agakov(target, conditional, 0.0)


def info_nce(
    matches: Sequence[Match], masks: Float[Tensor, "n 1 h w"], clips: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """InfoNCE between the sounding pixels of a frame and its sound, against the sounds of the other clips.

    The keys are averaged over the mask and scaled back to length 1; the score of frame i with sound j is the gate's own
    (van den Oord et al., arXiv 1807.03748). Seconds of the same clip are not used as negatives: they often sound alike.

    Args:
        matches: Of the gates at the scales.
        masks: (N, 1, H, W) in {0, 1}; frames in which nothing sounds are left out.
        clips: (N,), the clip each frame belongs to.

    Returns:
        log n minus the bound, mean over scales and the n frames, in nats; 0 when nothing sounds in the batch.
    """
    sounding = masks.flatten(1).any(1)
    itself = torch.eye(len(clips), dtype=torch.bool, device=clips.device)
    # row i: the frames whose sounds frame i must not match
    negatives = sounding & (clips[:, None] != clips[None, :])
    count = sounding.sum().clamp_min(1)
    losses = []
    for match in matches:
        size = match.keys.shape[2], match.keys.shape[3]
        share = F.adaptive_avg_pool2d(masks, size)
        keys = F.normalize((match.keys.to(masks.dtype) * share).sum((2, 3)), dim=1)
        scores = torch.einsum("id,jd->ij", keys, match.queries.to(masks.dtype))
        # log n minus the bound of `bounds.info_nce` over the n sounding frames, written without their number.
        each = (
            scores.masked_fill(~(negatives | itself), -torch.inf).logsumexp(1) - scores.diagonal()
        )
        losses.append(each.masked_fill(~sounding, 0).sum() / count)
    return torch.stack(losses).mean()
