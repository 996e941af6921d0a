"""Models put together from an encoder and a decoder of one kind: what `zoo` builds by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, Literal, get_args

from torch import nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.decoders import ConvDecoder, MLPDecoder
from ecmvae.vae.encoders import ConvEncoder, GaussianHead, MLPEncoder
from ecmvae.vae.flow_posterior import FlowHead
from ecmvae.vae.ladder_vae import LadderEncoder, LadderVAE
from ecmvae.vae.vae import VAE
from ecmvae.vae.vq_vae import VQVAE
from ecmvae.vae.wae import WAE

Network = Literal["mlp", "conv"]
"""mlp is one hidden layer; conv halves the image by strided convolutions with batch norm until a side is odd or 4."""

CONV_WIDTHS = (32, 64, 128, 128, 256, 256)
"""Channels of the convolutions, as many of them as the image can be halved."""


def parts(
    network: str, shape: Sequence[int], hidden: int, latent_dim: int
) -> tuple[MLPEncoder | ConvEncoder, MLPDecoder | ConvDecoder]:
    """An encoder up to its features, of length `out_features`, and a decoder from `latent_dim` latents.

    Args:
        network: A `Network`.
        shape: Of one image, (C, H, W) for conv.
        hidden: Width of the hidden layer of mlp.
        latent_dim: What the decoder takes.

    Raises:
        ValueError: For an unknown network, or an image that conv cannot halve.
    """
    if network == "mlp":
        return MLPEncoder(prod(shape), (hidden,)), MLPDecoder(latent_dim, (hidden,), shape)
    if network != "conv":
        raise ValueError(f"unknown network {network!r}: choose from {', '.join(get_args(Network))}")
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2:
        raise ValueError(
            f"network conv takes square images of an even size, got {tuple(shape)}: use mlp, or pad them"
        )
    size, halvings = shape[1], 0
    while size % 2 == 0 and size > 4 and halvings < len(CONV_WIDTHS):
        size, halvings = size // 2, halvings + 1
    widths = CONV_WIDTHS[: max(halvings, 1)]
    encoder = ConvEncoder(shape[0], widths, shape[1])
    return encoder, ConvDecoder(
        latent_dim, encoder.out_shape, widths[-2::-1] if len(widths) > 1 else (), shape[0]
    )


def vae_of(
    cls: Callable[..., VAE],
    shape: Sequence[int],
    _: object,
    *,
    latent_dim: int,
    hidden: int,
    network: str = "mlp",
    **settings: Any,
) -> VAE:
    """A VAE of a class called as cls(encoder, decoder, latent_dim, **settings)."""
    encoder, decoder = parts(network, shape, hidden, latent_dim)
    head = GaussianHead(encoder.out_features, latent_dim)
    return cls(nn.Sequential(encoder, head), decoder, latent_dim, **settings)


def flow_vae(
    flow: Callable[[int, int], nn.Module],
    shape: Sequence[int],
    _: object,
    *,
    latent_dim: int,
    hidden: int,
    network: str,
    flow_layers: int,
    **settings: Any,
) -> VAE:
    """A VAE whose posterior is the image of a Gaussian under flow(latent_dim, flow_layers)."""
    encoder, decoder = parts(network, shape, hidden, latent_dim)
    head = FlowHead(encoder.out_features, latent_dim, flow(latent_dim, flow_layers))
    return VAE(nn.Sequential(encoder, head), decoder, latent_dim, **settings)


def ladder_vae(
    shape: Sequence[int],
    _: object,
    *,
    latent_dim: int,
    hidden: int,
    network: str,
    levels: int,
    **settings: Any,
) -> LadderVAE:
    """A `LadderVAE` whose top level is `latent_dim` wide, and each level below it twice as wide as the one above."""
    if not 1 <= levels <= 8:
        raise ValueError(f"levels must be between 1 and 8, got {levels}")
    # from the data up
    widths = [latent_dim * 2 ** (levels - 1 - number) for number in range(levels)]
    bottom, decoder = parts(network, shape, hidden, widths[0])
    stages = [
        bottom,
        *(
            MLPEncoder(features, (hidden,))
            for features in [bottom.out_features, *[hidden] * levels][: levels - 1]
        ),
    ]
    heads = [
        GaussianHead(stage.out_features, width) for stage, width in zip(stages, widths, strict=True)
    ]
    steps = [
        nn.Sequential(MLPEncoder(above, (hidden,)), GaussianHead(hidden, below))
        for below, above in pairwise(widths)
    ]
    return LadderVAE(LadderEncoder(stages, heads), steps, decoder, latent_dim, **settings)


def autoencoder_of(
    cls: Callable[..., AutoEncoder],
    shape: Sequence[int],
    _: object,
    *,
    latent_dim: int,
    hidden: int,
    network: str = "mlp",
    **settings: Any,
) -> AutoEncoder:
    """A deterministic model of a class called as cls(encoder, decoder, **settings)."""
    encoder, decoder = parts(network, shape, hidden, latent_dim)
    built = partial(cls, latent_dim=latent_dim) if cls is WAE else cls
    return built(
        nn.Sequential(encoder, nn.Linear(encoder.out_features, latent_dim)), decoder, **settings
    )


def vq_vae(
    shape: Sequence[int],
    _: object,
    *,
    latent_dim: int,
    hidden: int,
    network: str,
    code_dim: int,
    **settings: Any,
) -> VQVAE:
    """A `VQVAE` of `latent_dim` positions."""
    width = latent_dim * code_dim
    encoder, decoder = parts(network, shape, hidden, width)
    layers = nn.Sequential(encoder, nn.Linear(encoder.out_features, width))
    return VQVAE(layers, decoder, latent_dim, code_dim, **settings)
