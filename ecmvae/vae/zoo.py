"""Models by name for labelled images: what `ecmvae vae train` can build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ecmvae.vae.assembly import Network, autoencoder_of, flow_vae, ladder_vae, vae_of, vq_vae
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.autoregressive import InverseAutoregressiveFlow
from ecmvae.vae.beta_tc_vae import BetaTCVAE
from ecmvae.vae.celeba import BETA, face_autoencoder, face_vae
from ecmvae.vae.decoders import MLPDecoder, Upsampling
from ecmvae.vae.divergences import check_free_bits
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.factor_vae import FactorVAE
from ecmvae.vae.flow_prior import FlowPrior
from ecmvae.vae.fully_connected import (
    lecture_vae,
    mlp_categorical_vae,
    mlp_conditional_vae,
)
from ecmvae.vae.info_vae import InfoVAE
from ecmvae.vae.keras_same import keras_autoencoder, keras_vae
from ecmvae.vae.likelihoods import CategoricalLikelihood, Likelihood
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
from ecmvae.vae.rae import RAE
from ecmvae.vae.vae import VAE, ConditionalVAE, LabelConditioned
from ecmvae.vae.wae import WAE

ModelName = Literal[
    "autoencoder",
    "vae",
    "lecture_vae",
    "categorical_vae",
    "mixture_vae",
    "iaf_vae",
    "realnvp_vae",
    "ladder_vae",
    "beta_tc_vae",
    "factor_vae",
    "info_vae",
    "wae",
    "rae_l2",
    "rae_gradient",
    "vq_vae",
    "conditional_vae",
    "keras_autoencoder",
    "keras_vae",
    "face_vae",
    "face_autoencoder",
    "jmvae",
    "mvae",
    "mmvae",
    "mopoe",
    "mmjsd",
    "dmvae",
    "mmvae_plus",
]
"""Names of models. The last seven see several modalities: an image and its class, or several images of one thing."""

ATTRIBUTES = "attributes"
"""The modality whose K values are independent yes or no; any other labelled modality is one of K classes."""

Classes = int | Mapping[str, int]
"""Number of classes of the one label, or of the values of each labelled modality."""

Model = AutoEncoder | VAE | ConditionalVAE | MultimodalVAE
"""What `build_vae` makes."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model; a setting that a model does not have is refused when it is not at its default."""

    name: ModelName = "vae"
    """Which model."""
    latent_dim: int = 10
    """Width L of the latent (the shared one of dmvae and mmvae_plus, the top one of ladder_vae); the number of
    variables of categorical_vae, of positions of vq_vae."""
    hidden: int = 256
    """Width of the hidden layers of the fully connected models, and of factor_vae's discriminator."""
    network: Network = "mlp"
    """mlp, or conv: strided convolutions with batch norm, for square images of an even size."""
    beta: float = 1.0
    """Weight of the KL in the loss."""
    noise_std: float = 0.0
    """Noise on the autoencoder's input in training: above 0 it learns to denoise."""
    components: int = 4
    """Gaussians in the posterior of mixture_vae; values of each variable of categorical_vae."""
    private_dim: int = 4
    """Width of each private latent of dmvae and mmvae_plus."""
    prior: str = "standard_normal"
    """Prior of the latent: standard_normal, gaussian (learnt), mixture, vamp, flow, or an import path such as
    my_package.priors:MyPrior."""
    free_bits: float = 0.0
    """KL in nats that each latent dimension may have at no cost in the loss."""
    tc_weight: float = 6.0
    """Weight of the total correlation in the loss of beta_tc_vae (1 is the VAE) and factor_vae (0 is the VAE)."""
    alpha: float = 0.0
    """Share of the KL that info_vae leaves out."""
    mmd_weight: float = 10.0
    """Weight of the maximum mean discrepancy of info_vae and wae."""
    code_weight: float = 0.01
    """Weight of the codes' norm in the loss of rae_l2 and rae_gradient."""
    decoder_weight: float = 1e-4
    """Weight of the decoder's regulariser in the loss of rae_l2 and rae_gradient."""
    flow_layers: int = 4
    """Layers of the flow in the posterior of iaf_vae and realnvp_vae."""
    levels: int = 2
    """Levels of latents of ladder_vae."""
    codes: int = 64
    """Entries of the code book of vq_vae."""
    code_dim: int = 8
    """Width of an entry."""
    commitment: float = 0.25
    """Weight of vq_vae's commitment loss."""
    reconstruction_weight: float = BETA
    """Of face_vae and face_autoencoder: factor on the mean squared error, the lectures' beta; the KL's weight is 1."""
    upsampling: Upsampling = "transposed"
    """Of face_vae and face_autoencoder: how the decoder doubles a picture, transposed (convolutions, as the lectures)
    or nearest (neighbours, then a convolution: no checkerboard)."""
    label_weight: float = 10.0
    """Factor on the class's log-likelihood in the multimodal losses, against the image's many pixels; without effect
    where the modalities are several images."""


def build_vae(
    settings: ModelSettings, event_shape: Sequence[int], num_classes: Classes = 10
) -> Model:
    """Build a model for images of `event_shape` (C, H, W) and one of `num_classes` classes, or several labels.

    With (M, C, H, W) a multimodal model sees M images as its modalities, and no class.

    Raises:
        ValueError: When the model does not take such images, or a setting has no effect on it.
    """
    if settings.name not in MODELS:
        raise ValueError(f"unknown model {settings.name!r}: choose from {', '.join(MODELS)}")
    listed, build = MODELS[settings.name]
    used = listed.split()
    if len(event_shape) == 4:
        if "label_weight" not in used:
            names = ", ".join(name for name, (its, _) in MODELS.items() if "label_weight" in its)
            raise ValueError(
                f"{settings.name} sees one image a sample, not {event_shape[0]}: choose from {names}"
            )
        used.remove("label_weight")
    for name, default in vars(ModelSettings()).items():
        if name not in ("name", *used) and getattr(settings, name) != default:
            raise ValueError(
                f"{name} has no effect on {settings.name}, which has {', '.join(used)}: leave it out"
            )
    given = {name: getattr(settings, name) for name in used if name not in ("prior", "free_bits")}
    model = build(tuple(event_shape), num_classes, **given)
    if isinstance(model, VAE | MultimodalVAE) and settings.prior != ModelSettings.prior:
        prior = PRIORS.get(settings.prior).for_events(settings.latent_dim, event_shape)
        encode = (
            model.encode if isinstance(model, VAE) and settings.name not in _NOT_GAUSSIAN else None
        )
        model.prior = prior_or_standard_normal(prior, settings.latent_dim, encode)
    if isinstance(model, VAE | ConditionalVAE):
        model.free_bits = check_free_bits(settings.free_bits)
    return model


def batch_for(
    model: Model, images: Tensor, labels: Tensor, num_classes: int = 10
) -> dict[str, Tensor]:
    """Named tensors of one batch: x; x and one-hot y; the modalities image and label; or image_0, image_1 and so on."""
    if isinstance(model, AutoEncoder | VAE):
        return {"x": images}
    if images.ndim == 5:
        return {f"image_{number}": each for number, each in enumerate(images.unbind(1))}
    one_hot = nn.functional.one_hot(labels, num_classes).to(images.dtype)
    return (
        {"image": images, "label": one_hot}
        if isinstance(model, MultimodalVAE)
        else {"x": images, "y": one_hot}
    )


@torch.no_grad()
def codes_of(model: Model, batch: dict[str, Tensor]) -> Tensor:
    """Latents of a batch made by `batch_for`, (n, L), at the posterior's mode; those of images do not see the label."""
    if isinstance(model, MultimodalVAE):
        return model.united_of(
            model.prepare({name: x for name, x in batch.items() if name != "label"})
        ).mode
    if isinstance(model, ConditionalVAE):
        return model.encode(batch["x"], batch["y"]).mode
    if isinstance(model, VAE):
        return model.posterior(batch["x"]).mode
    return model.encode(batch["x"])


def _labels(num_classes: Classes) -> dict[str, int]:
    """Labelled modality -> its values; a `ValueError` without any."""
    labels = {"label": num_classes} if isinstance(num_classes, int) else dict(num_classes)
    if not labels:
        raise ValueError(
            "this model is given attributes beside each picture, and the data has none: add a table attributes.csv, or "
            "choose another model"
        )
    return labels


def _mixture_vae(
    shape: Sequence[int], _: Classes, latent_dim: int, hidden: int, beta: float, components: int
) -> VAE:
    head = MixtureHead(hidden, latent_dim, components)
    encoder = nn.Sequential(MLPEncoder(prod(shape), (hidden,)), head)
    return MixtureVAE(encoder, MLPDecoder(latent_dim, (hidden,), shape), latent_dim, beta=beta)


def _factor_vae(shape: Sequence[int], _: Classes, hidden: int, **settings: Any) -> VAE:
    return vae_of(partial(FactorVAE, hidden=hidden), shape, _, hidden=hidden, **settings)


def _keras(build: Callable[..., Model], shape: Sequence[int], _: Classes, **settings: Any) -> Model:
    if shape != (1, 32, 32):
        raise ValueError(f"{build.__name__} takes 1x32x32 images, got {shape}: set pad_to: 32")
    return build(**settings)


def _face(
    build: Callable[..., Model], shape: Sequence[int], _: Classes, latent_dim: int, **used: Any
) -> Model:
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise ValueError(f"{build.__name__} takes square RGB images, got {shape}")
    return build(shape[1], latent_dim, **used)


def _multimodal(
    cls: type[MultimodalVAE],
    shape: Sequence[int],
    num_classes: Classes,
    *,
    latent_dim: int,
    hidden: int,
    beta: float,
    label_weight: float | None = None,
    **private: int,
) -> MultimodalVAE:
    """Image and labels as modalities, or M images; `private` is empty or holds `private_dim`."""

    def encoder(features: int) -> nn.Module:
        head = (
            SharedPrivateHead(hidden, latent_dim, **private)
            if private
            else GaussianHead(hidden, latent_dim)
        )
        return nn.Sequential(MLPEncoder(features, (hidden,)), head)

    labels = {} if len(shape) == 4 else _labels(num_classes)
    shapes: dict[str, Sequence[int]] = {"image": shape} | {
        name: (count,) for name, count in labels.items()
    }
    if len(shape) == 4:
        shapes = {f"image_{number}": shape[1:] for number in range(shape[0])}
    width = latent_dim + sum(private.values())
    encoders = {name: encoder(prod(event)) for name, event in shapes.items()}
    decoders = {name: MLPDecoder(width, (hidden,), event) for name, event in shapes.items()}
    more: dict[str, Any] = dict(private)
    if cls is JMVAE:
        more["joint_encoder"] = LabelConditioned(
            encoder(sum(prod(event) for event in shapes.values()))
        )
    likelihoods: dict[str, Likelihood] = {
        name: CategoricalLikelihood() for name in labels if name != ATTRIBUTES
    }
    weights = {} if label_weight is None else dict.fromkeys(labels, label_weight)
    return cls(
        encoders, decoders, latent_dim, likelihoods=likelihoods, weights=weights, beta=beta, **more
    )


_BOTH = "latent_dim hidden beta label_weight prior"
_VAE = "latent_dim hidden network prior free_bits"
_AE = "latent_dim hidden network noise_std"
_NOT_GAUSSIAN = ("mixture_vae", "iaf_vae", "realnvp_vae")
"""Models whose posterior is no Gaussian, so that VampPrior cannot be made of it."""

MODELS: dict[str, tuple[str, Callable[..., Model]]] = {
    "autoencoder": (_AE, partial(autoencoder_of, AutoEncoder)),
    "vae": (f"{_VAE} beta", partial(vae_of, VAE)),
    "lecture_vae": (
        "latent_dim hidden prior free_bits",
        lambda shape, _, **used: lecture_vae(event_shape=shape, **used),
    ),
    "categorical_vae": (
        "latent_dim hidden components",
        lambda shape, _, latent_dim, hidden, components: mlp_categorical_vae(
            shape, hidden, latent_dim, components
        ),
    ),
    "mixture_vae": ("latent_dim hidden beta components prior", _mixture_vae),
    "iaf_vae": (f"{_VAE} beta flow_layers", partial(flow_vae, InverseAutoregressiveFlow)),
    "realnvp_vae": (f"{_VAE} beta flow_layers", partial(flow_vae, FlowPrior)),
    "ladder_vae": (f"{_VAE} beta levels", ladder_vae),
    "beta_tc_vae": (f"{_VAE} tc_weight", partial(vae_of, BetaTCVAE)),
    "factor_vae": (f"{_VAE} beta tc_weight", _factor_vae),
    "info_vae": (f"{_VAE} alpha mmd_weight", partial(vae_of, InfoVAE)),
    "wae": (f"{_AE} mmd_weight", partial(autoencoder_of, WAE)),
    "rae_l2": (
        f"{_AE} code_weight decoder_weight",
        partial(autoencoder_of, partial(RAE, regulariser="l2")),
    ),
    "rae_gradient": (
        f"{_AE} code_weight decoder_weight",
        partial(autoencoder_of, partial(RAE, regulariser="gradient")),
    ),
    "vq_vae": (f"{_AE} codes code_dim commitment", vq_vae),
    "conditional_vae": (
        "latent_dim hidden beta free_bits",
        lambda shape, classes, **used: mlp_conditional_vae(
            shape, sum(_labels(classes).values()), **used
        ),
    ),
    "keras_autoencoder": ("latent_dim", partial(_keras, keras_autoencoder)),
    "keras_vae": ("latent_dim beta prior free_bits", partial(_keras, keras_vae)),
    "face_vae": (
        "latent_dim prior free_bits reconstruction_weight upsampling",
        partial(_face, face_vae),
    ),
    "face_autoencoder": (
        "latent_dim reconstruction_weight upsampling",
        partial(_face, face_autoencoder),
    ),
    "jmvae": (_BOTH, partial(_multimodal, JMVAE)),
    "mvae": (_BOTH, partial(_multimodal, MVAE)),
    "mmvae": (_BOTH, partial(_multimodal, MMVAE)),
    "mopoe": (_BOTH, partial(_multimodal, MoPoE)),
    "mmjsd": (_BOTH.removesuffix(" prior"), partial(_multimodal, MMJSD)),
    "dmvae": (f"{_BOTH} private_dim", partial(_multimodal, DMVAE)),
    "mmvae_plus": (f"{_BOTH} private_dim", partial(_multimodal, MMVAEPlus)),
}
"""Name -> the settings that have an effect, and the function that builds it from image shape, classes and those."""
