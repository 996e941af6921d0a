"""The knobs of the objective, a part of `ecmvae.config.Config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the named loss terms. A weight of 0 means the term is not computed."""

    structure: float = 1.0
    """Structure loss (weighted BCE + weighted soft IoU) of the prior branch, the one used at test time."""
    posterior_structure: float = 1.0
    """Structure loss of the posterior branch: the reconstruction term of the conditional ELBO."""
    cross_entropy: float = 1.0
    """Cross-entropy over the classes of the prior branch; only with model.num_classes above 1. The structure terms then
    compare "anything but background" with the mask."""
    posterior_cross_entropy: float = 1.0
    """Cross-entropy over the classes of the posterior branch, as above."""
    mask: Literal["structure", "bce"] = "structure"
    """What `structure` and `posterior_structure` compute: the structure loss, or plain binary cross-entropy, as
    AVSBench trains its baseline."""
    kl: float = 0.01
    """Divergence of posterior from prior, summed over c, s_a and s_v."""
    kl_warmup_epochs: float = 0.0
    """The KL weight rises linearly from 0 to `kl` over this many epochs."""
    free_bits: float = 0.0
    """Nats of KL that are free for each dimension of every latent whose divergence is kl; prevents collapse."""
    kl_balance: float | None = None
    """Share, 0 to 1, of that KL's gradient that goes to the prior; null is the plain KL. With 0.8 (Dreamer v2) the
    prior moves towards the posterior faster than the posterior towards the prior."""
    orthogonality: float = 0.001
    """Orthogonality between the shared and the specific latents (squared Frobenius norm of the cross-covariance)."""
    mutual_information: float = 0.001
    """Barber-Agakov lower bound between the fused visual and audio latents; it is maximised."""
    audio_visual_matching: float = 0.0
    """Audio-visual matching (AVSBench's L_AVM): masked visual features compared with the frame's sound (the paper's MS3
    runs: 0.5)."""
    audio_visual_matching_distance: Literal["kl", "euclidean", "cosine"] = "kl"
    """kl of their softmaxes, euclidean, or cosine: -log(max(cosine, 0) + 1e-6), AVSBench's for S4, where unused."""
    audio_visual_matching_pooling: Literal["avg", "max"] = "avg"
    """How the predicted mask is pooled to the size of each map."""
    audio_visual_matching_threshold: bool = False
    """True: average the features of pixels whose pooled mask is above 0.5. False: average all, weighted by the mask."""
    audio_visual_matching_normalise: bool = True
    """Whether both features are L2-normalised before they are compared; AVSBench's MS3 runs do not."""
    outlines: float = 0.0
    """Structure loss of the outlines of all objects, sounding or not, for model.fusion.kind regions; needs data with
    object masks (collage, synthetic)."""
    regions: float = 0.0
    """Cross-entropy of whether two cells belong to the same object, as above."""
    correspondence: float = 0.0
    """Sigmoid loss over pairs of an object and a sound, as above: one is silent under another clip's sound."""
    names: float = 0.0
    """Cross-entropy of the class of each object, as above, for data that knows it (collage) and classes that
    model.fusion.table names. Without it the names of regions follow from the masks alone."""
    sounds: float = 0.0
    """Cross-entropy of which of these classes sound, seen or not, summed over the classes: what c then stands for."""
    match: float = 0.0
    """InfoNCE between sounding objects and their sound, inside the gate, at every scale; not in the paper. A
    gate learns several times faster with it."""
    formulas: Literal["principled", "released"] = "principled"
    """principled = the mathematics; released = the released code's own formulas (see losses/released.py)."""
    extra: dict[str, float] = field(default_factory=dict, hash=False)
    """Weights of further terms, by registered name or import path: {my_package.terms:MyTerm: 0.1}. A negative weight
    maximises the term."""
