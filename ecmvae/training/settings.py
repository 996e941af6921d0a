"""Warn about settings that have no effect because of another setting."""

from __future__ import annotations

from fnmatch import fnmatch

from ecmvae.config import Config
from ecmvae.config_reader import by_dotted_name

_KL = ("loss.kl_warmup_epochs", "loss.free_bits", "loss.kl_balance")
_ELBO = ("loss.kl", *_KL, "loss.posterior_*")
_PARTS = ("model.latent.*", "model.fusion.*", "model.neck", "loss.match")
_REGIONS = (
    "loss.outlines",
    "loss.regions",
    "loss.correspondence",
    "loss.names",
    "loss.sounds",
    "model.fusion.classifier",
    "model.fusion.bare_names",
    "model.fusion.second_look",
    "model.fusion.table",
)
_READERS = ("s4", "ms3", "avss", "synthetic")
FOUNDATION = ("dinov2", "dinov3_vit", "dinov3_convnext", "sam2_hiera", "ast", "clap", "pe_a_frame")
"""Encoders whose weights are pretrained unless the configuration says otherwise."""
_FACTORS = ("model.latent.fusion", "loss.orthogonality", "loss.mutual_information")


def without_effect(config: Config) -> dict[str, str]:
    """Find settings that differ from their defaults and have no effect.

    Returns:
        Dotted name -> the setting that makes it ineffective, such as ``model.latent.kind=none``.
    """
    model, data, loss = config.model, config.data, config.loss
    idle: dict[str, str] = {}
    plain, ours = by_dotted_name(Config().to_dict()), by_dotted_name(config.to_dict())
    rules = (
        ("model.name=tpavi", model.name == "tpavi", (*_ELBO, *_FACTORS, *_PARTS)),
        (f"model.name={model.name}", model.name != "tpavi", ("model.window",)),
        (
            "model.latent.kind=none",
            model.latent.kind == "none",
            ("model.latent.*", *_ELBO, *_FACTORS),
        ),
        ("model.latent.kind=agreement", model.latent.kind == "agreement", ("model.latent.fusion",)),
        ("model.latent.kind=single", model.latent.kind == "single", _FACTORS),
        (
            "model.latent.shared_divergence=kl",
            model.latent.shared_divergence == "kl",
            ("model.latent.js_samples",),
        ),
        (
            f"model.fusion.kind={model.fusion.kind}",
            model.fusion.kind in ("tpavi", "none", "regions"),
            ("loss.match",),
        ),
        (
            f"model.fusion.kind={model.fusion.kind}",
            model.fusion.kind in ("tpavi", "gate", "none"),
            _REGIONS,
        ),
        ("model.num_classes=1", model.num_classes == 1, ("loss.*cross_entropy",)),
        (
            "loss.audio_visual_matching=0",
            loss.audio_visual_matching == 0,
            ("loss.audio_visual_matching_*",),
        ),
        (
            f"data.name={data.name}",
            data.name in _READERS,
            ("data.negatives", "data.free_scenes", "data.sound_augmentation"),
        ),
        (f"data.name={data.name}", data.name != "collage", ("data.folds", "data.fold")),
        ("loss.kl=0", loss.kl == 0, _KL),
        *(
            (f"model.{part}.name={name}", name not in FOUNDATION, (f"model.{part}.pretrained",))
            for part, name in (("visual", model.visual.name), ("audio", model.audio.name))
        ),
    )
    for reason, holds, patterns in rules:
        for name in ours if holds else ():
            itself = name == reason.partition("=")[0]
            if (
                not itself
                and ours[name] != plain.get(name)
                and any(fnmatch(name, pattern) for pattern in patterns)
            ):
                idle.setdefault(name, reason)
    return idle
