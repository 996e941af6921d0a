"""Regularised autoencoders: the noise of a VAE replaced by an explicit regulariser of the decoder.

Ghosh et al., "From variational to deterministic autoencoders", 2020 (arXiv:1903.12436), eq. 9:

    loss = -log p(x|z) + beta/2 |z|^2 + lambda R,   z = E(x)

R is the squared norm of the decoder's weights ("l2"), or |J|^2, the squared Frobenius norm of the Jacobian of the
decoder's output at z ("gradient"). New samples need a density of the codes, which `latent_samplers` fits after the
training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.penalties import Penalty

Regulariser = Literal["l2", "gradient"]


class RAE(AutoEncoder):
    """`AutoEncoder` with a penalty on its codes and on its decoder."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        regulariser: str = "l2",
        code_weight: float = 1e-2,
        decoder_weight: float = 1e-4,
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: (n, *event) -> (n, L).
            decoder: (n, L) -> (n, *event) logits or means.
            regulariser: "l2" or "gradient".
            code_weight: beta, 0 or more.
            decoder_weight: lambda, 0 or more.
            options: `likelihood` and `noise_std` of `AutoEncoder`.

        Raises:
            ValueError: For a negative weight or an unknown regulariser.
        """
        super().__init__(encoder, decoder, **options)
        if regulariser not in get_args(Regulariser):
            raise ValueError(
                f"unknown regulariser {regulariser!r}: choose from {', '.join(get_args(Regulariser))}"
            )
        if code_weight < 0 or decoder_weight < 0:
            raise ValueError(f"the weights must be >= 0, got {code_weight} and {decoder_weight}")
        self.regulariser, self.code_weight, self.decoder_weight = (
            regulariser,
            code_weight,
            decoder_weight,
        )

    def penalties(
        self, code: Float[Tensor, "n l"], parameters: Float[Tensor, "n ..."]
    ) -> Mapping[str, Penalty]:
        """Half the squared norm of the codes, and the decoder's regulariser."""
        codes = Penalty(self.code_weight, 0.5 * code.square().sum(1).mean())
        decoder = Penalty(self.decoder_weight, self._decoder_penalty(code, parameters))
        return {"code_norm": codes, f"decoder_{self.regulariser}": decoder}

    def _decoder_penalty(self, code: Tensor, parameters: Tensor) -> Tensor:
        if self.regulariser == "l2":
            return torch.stack(
                [weight.square().sum() for weight in self.decoder.parameters()]
            ).sum()
        # validation: decode again, with gradients
        if not (torch.is_grad_enabled() and code.requires_grad):
            with torch.enable_grad():
                code = code.detach().requires_grad_()
                parameters = self.decode(code)
                return (
                    squared_jacobian(parameters, code, torch.randn_like(parameters)).mean().detach()
                )
        return squared_jacobian(parameters, code, torch.randn_like(parameters)).mean()


def squared_jacobian(
    outputs: Float[Tensor, "n ..."],
    inputs: Float[Tensor, "n ..."],
    directions: Float[Tensor, "n ..."],
) -> Float[Tensor, " n"]:
    """|J^T v|^2 of each sample, J = d outputs / d inputs and v its direction.

    With v from N(0, I) its mean is the squared Frobenius norm of J (Hutchinson's estimator).
    """
    (gradient,) = torch.autograd.grad(outputs, inputs, directions, create_graph=True)
    return gradient.flatten(1).square().sum(1)
