"""Autoencoders: deterministic code and reconstruction; denoising when noise is added to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.vae.gaussian import check_count
from ecmvae.vae.likelihoods import BernoulliLikelihood, Likelihood
from ecmvae.vae.penalties import Penalty, penalised
from ecmvae.vae.priors import Prior


@dataclass(frozen=True, eq=False, kw_only=True)
class AutoEncoderOutput:
    """What one forward of an autoencoder gives.

    Attributes:
        parameters: Decoder output (n, *event): logits or means.
        code: (n, L).
        log_likelihood: log p(x|code) of the clean input in nats, (n,).
        penalties: Further terms of `loss` by name, of the batch as a whole.
    """

    parameters: Tensor
    code: Tensor
    log_likelihood: Tensor
    penalties: Mapping[str, Penalty] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        """Mean negative log-likelihood, in nats per sample, plus the penalties."""
        return penalised(-self.log_likelihood.mean(), self.penalties)

    def named(self) -> dict[str, Tensor]:
        """Scalars to log."""
        values = {name: each.value for name, each in self.penalties.items()}
        return {"loss": self.loss, "log_likelihood": self.log_likelihood.mean(), **values}


class AutoEncoder(nn.Module):
    """x -> code -> x. With `noise_std` above 0 a denoising autoencoder: noisy input, clean target, in training only.

    Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008.

    Attributes:
        prior: What `sample` draws codes from, fitted afterwards by `latent_samplers` or given by a subclass; None at
            first.
    """

    prior: Prior | None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        noise_std: float = 0.0,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: Any module (n, *event) -> (n, L).
            decoder: Any module (n, L) -> (n, *event) logits or means.
            likelihood: What the decoder's output means; None is Bernoulli.
            noise_std: Standard deviation of the Gaussian noise added to the input while training.
        """
        super().__init__()
        if noise_std < 0:
            raise ValueError(f"noise_std must be >= 0, got {noise_std}")
        self.encoder, self.decoder, self.noise_std = encoder, decoder, noise_std
        self.likelihood: Likelihood = likelihood or BernoulliLikelihood()
        self.prior = None

    def forward(self, x: Float[Tensor, "n ..."]) -> AutoEncoderOutput:
        """Encode (a noisy copy of) x and score the reconstruction against x.

        Raises:
            ValueError: When the likelihood cannot explain x, or on a one-sample batch with batch norm.
        """
        self.likelihood.check(x)
        check_batch_statistics(self, x)
        code = self.encode(self.corrupted(x))
        parameters = self.decode(code)
        return AutoEncoderOutput(
            parameters=parameters,
            code=code,
            log_likelihood=self.likelihood.log_prob(parameters, x),
            penalties=self.penalties(code, parameters),
        )

    def corrupted(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """What the encoder sees: x, with noise in the training of a denoising model."""
        return x + self.noise_std * torch.randn_like(x) if self.training and self.noise_std else x

    def penalties(
        self, code: Float[Tensor, "n ..."], parameters: Float[Tensor, "n ..."]
    ) -> Mapping[str, Penalty]:
        """Further terms of the loss: none unless a subclass adds some."""
        return {}

    def encode(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n l"]:
        """(n, *event) -> (n, L)."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Float[Tensor, "n l"]) -> Float[Tensor, "n ..."]:
        """(n, L) -> (n, *event) logits or means."""
        parameters: Tensor = self.decoder(code)
        return parameters

    def reconstruct(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Mean image of the decoder for x as it is: a denoising model takes its noisy input here."""
        return self.likelihood.mean(self.decode(self.encode(x)))

    def sample(
        self, count: int, generator: torch.Generator | None = None, *, draw: bool = False
    ) -> Float[Tensor, "n ..."]:
        """Images of `count` codes drawn from `prior`: their means, or with `draw` a draw from p(x|code).

        Raises:
            ValueError: Without a prior, or for a count below 1.
        """
        if self.prior is None:
            raise ValueError(
                "an autoencoder has no prior: fit one to its codes by latent_samplers, or use box_samples"
            )
        code = self.prior.sample(check_count(count, "count"), next(self.parameters()), generator)
        parameters = self.decode(code)
        return (
            self.likelihood.sample(parameters, generator)
            if draw
            else self.likelihood.mean(parameters)
        )


def check_batch_statistics(model: nn.Module, x: Tensor) -> None:
    """Refuse a batch of one sample, by a `ValueError`, where batch norm would learn from it."""
    if (
        model.training
        and len(x) == 1
        and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    ):
        raise ValueError(
            "batch norm cannot learn from a batch of one sample: use a larger batch, drop the last incomplete one, or "
            "call model.eval()"
        )
