"""Regularisers on the latents: orthogonality of shared and specific codes, and mutual information of the fused ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.bounds import barber_agakov
from ecmvae.vae.gaussian import DiagonalGaussian

_EPSILON = 1e-6


def cross_covariance(first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]) -> Float[Tensor, "a b"]:
    """A^T B of two batches of codes, centred over the batch and scaled to rows of length 1 (the length is detached).

    It is 0 for a single row, whatever the codes.
    """
    rows = []
    for codes in (first, second):
        centred = codes - codes.mean(0, keepdim=True)
        rows.append(centred / (centred.detach().norm(dim=1, keepdim=True) + _EPSILON))
    first_rows, second_rows = rows
    return torch.einsum("na,nb->ab", first_rows, second_rows)


def orthogonality_loss(first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]) -> Float[Tensor, ""]:
    """Squared Frobenius norm of the cross-covariance of two codes: 0 when they are linearly unrelated.

    The "difference loss" of domain separation networks (Bousmalis et al., NeurIPS 2016, arXiv 1608.06019, eq. 5). Its
    scale grows with the batch.

    Args:
        first: (N, A) codes.
        second: (N, B) codes.
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
        conditional = DiagonalGaussian(torch.tanh(self.mean(visual)), torch.tanh(self.logvar(visual)))
        return conditional, torch.tanh(self.target(audio.detach() if self.fixed_target else audio))

    def forward(self, visual: Float[Tensor, "n l"], audio: Float[Tensor, "n l"]) -> Float[Tensor, ""]:
        """Mean log q(t | z_v) over the batch, in nats; higher is better."""
        conditional, target = self.project(visual, audio)
        return barber_agakov(target, conditional, 0.0)
