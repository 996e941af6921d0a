"""Models by name for labelled images: what `ecmvae vae train` can build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.celeba import face_vae
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.fully_connected import (
    lecture_vae,
    mlp_autoencoder,
    mlp_categorical_vae,
    mlp_conditional_vae,
    mlp_vae,
)
from ecmvae.vae.keras_same import keras_autoencoder, keras_vae
from ecmvae.vae.likelihoods import BernoulliLikelihood, CategoricalLikelihood
from ecmvae.vae.mixture_vae import MixtureVAE
from ecmvae.vae.mixtures import MixtureHead
from ecmvae.vae.multimodal import (
    DMVAE,
    JMVAE,
    MMJSD,
    MMVAE,
    MVAE,
    MMVAEPlus,
    MoPoE,
    MultimodalVAE,
    SharedPrivateHead,
)
from ecmvae.vae.priors import PRIORS, prior_or_standard_normal
from ecmvae.vae.vae import VAE, ConditionalVAE, LabelConditioned, as_posterior

ModelName = Literal[
    "autoencoder",
    "vae",
    "lecture_vae",
    "categorical_vae",
    "mixture_vae",
    "conditional_vae",
    "keras_autoencoder",
    "keras_vae",
    "face_vae",
    "jmvae",
    "mvae",
    "mmvae",
    "mopoe",
    "mmjsd",
    "dmvae",
    "mmvae_plus",
]
"""Names of models. The last seven see an image and its class as two modalities."""

Model = AutoEncoder | VAE | ConditionalVAE | MultimodalVAE
"""What `build_vae` makes."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model; a setting that a model does not have is refused when it is not at its default."""

    name: ModelName = "vae"
    """Which model."""
    latent_dim: int = 10
    """Width L of the latent (the shared one of dmvae and mmvae_plus); the number of variables of categorical_vae."""
    hidden: int = 256
    """Width of the hidden layers of the fully connected models."""
    beta: float = 1.0
    """Weight of the KL in the loss."""
    noise_std: float = 0.0
    """Noise on the autoencoder's input in training: above 0 it learns to denoise."""
    components: int = 4
    """Gaussians in the posterior of mixture_vae; values of each variable of categorical_vae."""
    private_dim: int = 4
    """Width of each private latent of dmvae and mmvae_plus."""
    prior: str = "standard_normal"
    """Prior of the latent, by registered name or import path: my_package.priors:MyPrior."""
    label_weight: float = 10.0
    """Factor on the class's log-likelihood in the multimodal losses, against the image's many pixels."""


_USED: dict[str, tuple[str, ...]] = {
    "autoencoder": ("latent_dim", "hidden", "noise_std"),
    "vae": ("latent_dim", "hidden", "beta", "prior"),
    "lecture_vae": ("latent_dim", "hidden", "prior"),
    "categorical_vae": ("latent_dim", "hidden", "components"),
    "mixture_vae": ("latent_dim", "hidden", "beta", "components", "prior"),
    "conditional_vae": ("latent_dim", "hidden", "beta"),
    "keras_autoencoder": ("latent_dim",),
    "keras_vae": ("latent_dim", "beta", "prior"),
    "face_vae": ("latent_dim", "prior"),
    "mmjsd": ("latent_dim", "hidden", "beta", "label_weight"),
    "dmvae": ("latent_dim", "hidden", "beta", "label_weight", "private_dim", "prior"),
    "mmvae_plus": ("latent_dim", "hidden", "beta", "label_weight", "private_dim", "prior"),
}
_MULTIMODAL = ("latent_dim", "hidden", "beta", "label_weight", "prior")


def build_vae(settings: ModelSettings, event_shape: Sequence[int], num_classes: int = 10) -> Model:
    """Build a model for images of `event_shape` (C, H, W) and one of `num_classes` classes.

    Raises:
        ValueError: When the model does not take such images, or a setting has no effect on it.
    """
    _refuse_unused(settings)
    model = _build(settings, event_shape, num_classes)
    if isinstance(model, VAE | MultimodalVAE) and settings.prior != ModelSettings.prior:
        prior = PRIORS.get(settings.prior)(settings.latent_dim)
        model.prior = prior_or_standard_normal(prior, settings.latent_dim)
    return model


def _build(settings: ModelSettings, event_shape: Sequence[int], num_classes: int) -> Model:
    latent_dim, hidden, beta = settings.latent_dim, settings.hidden, settings.beta
    match settings.name:
        case "autoencoder":
            return mlp_autoencoder(event_shape, hidden, latent_dim, noise_std=settings.noise_std)
        case "vae":
            return mlp_vae(event_shape, hidden, latent_dim, beta=beta)
        case "lecture_vae":
            return lecture_vae(latent_dim, event_shape, hidden)
        case "categorical_vae":
            return mlp_categorical_vae(event_shape, hidden, latent_dim, settings.components)
        case "mixture_vae":
            head = MixtureHead(hidden, latent_dim, settings.components)
            encoder = nn.Sequential(MLPEncoder(prod(event_shape), (hidden,)), head)
            return MixtureVAE(encoder, MLPDecoder(latent_dim, (hidden,), event_shape), latent_dim, beta=beta)
        case "conditional_vae":
            return mlp_conditional_vae(event_shape, num_classes, hidden, latent_dim, beta=beta)
        case "keras_autoencoder" | "keras_vae":
            if tuple(event_shape) != (1, 32, 32):
                raise ValueError(f"{settings.name} takes 1x32x32 images, got {tuple(event_shape)}: set pad_to: 32")
            return (
                keras_autoencoder(latent_dim)
                if settings.name == "keras_autoencoder"
                else keras_vae(latent_dim, beta=beta)
            )
        case "face_vae":
            if event_shape[0] != 3:
                raise ValueError(f"face_vae takes RGB images, got {tuple(event_shape)}")
            return face_vae(event_shape[1], latent_dim)
        case _:
            return _multimodal(settings, event_shape, num_classes)


def batch_for(model: Model, images: Tensor, labels: Tensor, num_classes: int = 10) -> dict[str, Tensor]:
    """Named tensors of one batch: x; x and one-hot y; or the modalities image and label."""
    if isinstance(model, AutoEncoder | VAE):
        return {"x": images}
    one_hot = nn.functional.one_hot(labels, num_classes).to(images.dtype)
    return {"image": images, "label": one_hot} if isinstance(model, MultimodalVAE) else {"x": images, "y": one_hot}


def _refuse_unused(settings: ModelSettings) -> None:
    used = _USED.get(settings.name, _MULTIMODAL)
    for name, default in vars(ModelSettings()).items():
        if name not in ("name", *used) and getattr(settings, name) != default:
            raise ValueError(f"{name} has no effect on {settings.name}, which has {', '.join(used)}: leave it out")


def _multimodal(settings: ModelSettings, event_shape: Sequence[int], num_classes: int) -> MultimodalVAE:
    hidden, latent_dim, pixels = settings.hidden, settings.latent_dim, prod(event_shape)
    private = settings.name in ("dmvae", "mmvae_plus")

    def encoder(features: int) -> nn.Module:
        head = (
            SharedPrivateHead(hidden, latent_dim, settings.private_dim) if private else GaussianHead(hidden, latent_dim)
        )
        return nn.Sequential(MLPEncoder(features, (hidden,)), head)

    decoded = latent_dim + settings.private_dim if private else latent_dim
    encoders = {"image": encoder(pixels), "label": encoder(num_classes)}
    decoders = {
        "image": MLPDecoder(decoded, (hidden,), event_shape),
        "label": MLPDecoder(decoded, (hidden,), (num_classes,)),
    }
    common: dict[str, Any] = {
        "likelihoods": {"image": BernoulliLikelihood(), "label": CategoricalLikelihood()},
        "weights": {"label": settings.label_weight},
        "beta": settings.beta,
    }
    match settings.name:
        case "mvae":
            return MVAE(encoders, decoders, latent_dim, **common)
        case "jmvae":
            joint = LabelConditioned(encoder(pixels + num_classes))
            return JMVAE(encoders, decoders, latent_dim, joint_encoder=joint, **common)
        case "mmvae":
            return MMVAE(encoders, decoders, latent_dim, **common)
        case "mopoe":
            return MoPoE(encoders, decoders, latent_dim, **common)
        case "mmjsd":
            return MMJSD(encoders, decoders, latent_dim, **common)
        case "dmvae":
            return DMVAE(encoders, decoders, latent_dim, private_dim=settings.private_dim, **common)
        case "mmvae_plus":
            return MMVAEPlus(encoders, decoders, latent_dim, private_dim=settings.private_dim, **common)
    raise ValueError(f"unknown model {settings.name!r}: choose from {', '.join(get_args(ModelName))}")


@torch.no_grad()
def codes_of(model: Model, batch: dict[str, Tensor]) -> Tensor:
    """Latent means of a batch made by `batch_for`, (n, L)."""
    if isinstance(model, MultimodalVAE):
        return model.joint({name: x for name, x in batch.items() if name == "image"}).mode
    if isinstance(model, ConditionalVAE):
        return model.encode(batch["x"], batch["y"]).mode
    if isinstance(model, VAE):
        return as_posterior(model.encoder(batch["x"])).mode
    return model.encode(batch["x"])
