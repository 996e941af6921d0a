"""State dicts of the released ECMVAE (OpenNLPLab/MMVAE-AVS), of AVSBench's TPAVI and of VGGish, read into our models.

One table per model maps the names of our tensors to the released ones, and thereby lists what a file must hold, so that
missing, unexpected and wrongly shaped tensors are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecmvae.audio.encoder import fill_audio_encoder
from ecmvae.audio.vggish import VGGish
from ecmvae.config import Config, config_from_dict
from ecmvae.data.layout import FRAMES
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, TPAVIBaseline, build_model
from ecmvae.weight_files import compare_keys, named_tensors, read_weight_file

Source = str | Path | Mapping[str, Any]

BACKBONES = {"resnet50": "resnet50", "pvt_v2_b5": "pvt_v2_b5", "swin_b": "swin_b_pre"}
"""Released names of the backbones -> ours. Swin's maps are taken before each stage, as released."""

_HEADS = "mm_vae_model.ba_lower_bound_"
_SHORT = {"prior": "prior", "posterior": "post"}
_ENCODERS = {"shared": "enc_vac", "visual": "enc_vs", "audio": "enc_as"}
_FUSION = {"out": "W_z.0", "out_norm": "W_z.1", "norm": "norm_layer", "align": "align_channel"}
_GAUSSIAN = {"mean": "fc1", "logvar": "fc2"}
_BOUND = {"mean": "mu", "logvar": "logvar", "target": "sc_a"}
_BRANCH = r"(prior|posterior)_branch\."


def _encoder(match: re.Match[str]) -> str:
    """Prefix of a latent encoder: the released posterior encoders end in _y."""
    return f"mm_vae_model.{_ENCODERS[match[2]]}{'_y' if match[1] == 'posterior' else ''}"


def _picture(match: re.Match[str]) -> str:
    layer, part = divmod(int(match[3]), 3)  # convolution, BatchNorm, LeakyReLU
    return f"{_encoder(match)}.{('layer', 'bn')[part]}{layer + 1}."


def _residual(match: re.Match[str]) -> str:
    unit = {"skip": 1, "refine": 2}[match[3]]
    layer, part = divmod(int(match[4]), 3)  # convolution, BatchNorm, ReLU
    where = f"decoder_{_SHORT[match[1]]}.fusion_block_{int(match[2]) + 1}"
    return f"{where}.resConfUnit{unit}.ConvBNReLU{layer + 1}.{('conv', 'norm')[part]}."


def _neck(match: re.Match[str]) -> str:
    layer, part = divmod(int(match[3]), 2)  # convolution, BatchNorm
    return f"neck_{_SHORT[match[1]]}.conv_list.{match[2]}.reduce.{layer}.{('conv', 'norm')[part]}."


_Rules = tuple[tuple[str, Callable[[re.Match[str]], str]], ...]
_RULES: _Rules = (
    (r"backbone\.network\.", lambda m: "encoder."),
    (
        r"fusion\.(\d)\.(theta|phi|g|out_norm|out|norm)\.",
        lambda m: f"fusion_modules.{m[1]}.{_FUSION.get(m[2], m[2])}.",
    ),
    (_BRANCH + r"neck\.scales\.(\d)\.(\d)\.", _neck),
    (
        _BRANCH + r"neck\.scales\.(\d)\.branches\.(\d)\.",
        lambda m: f"neck_{_SHORT[m[1]]}.conv_list.{m[2]}.conv2d_list.{m[3]}.conv.",
    ),
    (_BRANCH + r"decoder\.blocks\.(\d)\.(skip|refine)\.body\.(\d)\.", _residual),
    (
        _BRANCH + r"decoder\.head\.layers\.(\d)\.",
        lambda m: f"decoder_{_SHORT[m[1]]}.head_up_2.output_conv.{m[2]}.",
    ),
    (_BRANCH + r"latent_encoder\.(shared|visual|audio)\.picture\.layers\.(\d+)\.", _picture),
    (_BRANCH + r"latent_encoder\.(shared|audio)\.code\.", lambda m: f"{_encoder(m)}.fc_gt_vector."),
    (
        _BRANCH + r"latent_encoder\.(shared|visual|audio)\.(?:head\.)?(mean|logvar)\.",
        lambda m: f"{_encoder(m)}.{_GAUSSIAN[m[3]]}.",
    ),
    (
        _BRANCH + r"latent_fusion\.(visual|audio)\.",
        lambda m: f"mm_vae_model.sc{('visual', 'audio').index(m[2]) + 1}_{m[1]}.",
    ),
    (
        _BRANCH + r"injection\.mix\.",
        lambda m: f"mm_vae_model.noise_model_{_SHORT[m[1]]}.noise_conv.",
    ),
    (
        r"bounds\.(prior|posterior)\.(mean|logvar|target)\.",
        lambda m: f"{_HEADS}{_BOUND[m[2]]}_{_SHORT[m[1]]}.",
    ),
)


def _tpavi_unit(match: re.Match[str]) -> str:
    unit, layer = {"skip": 1, "refine": 2}[match[2]], {"first": 1, "second": 2}[match[3]]
    return f"path{4 - int(match[1])}.resConfUnit{unit}.conv{layer}."


_TPAVI_BACKBONES = {"resnet50": "resnet.", "pvt_v2_b5": "encoder_backbone."}
_TPAVI_RULES: _Rules = (
    (
        r"fusion\.(\d)\.(theta|phi|g|out_norm|out|norm|align)\.",
        lambda m: f"tpavi_b{int(m[1]) + 1}.{_FUSION.get(m[2], m[2])}.",
    ),
    (r"neck\.scales\.(\d)\.branches\.(\d)\.", lambda m: f"conv{int(m[1]) + 1}.conv2d_list.{m[2]}."),
    (r"decoder\.blocks\.(\d)\.(skip|refine)\.(first|second)\.", _tpavi_unit),
    (r"decoder\.head\.(\d)\.", lambda m: f"output_conv.{m[1]}."),
)

# Never used by the released code: present in the released files, absent from our models.
_DEAD = re.compile(
    r"audio_neck\.|decoder_(prior|post)\.fusion_block_1\.resConfUnit1\.|encoder\.layers_3\.blocks\."
    r"|path4\.resConfUnit1\.|resnet\.layer[34]_2\."
)
_TPAVI_HEAD = "output_conv.4.weight"
_ALIGN_BIAS = re.compile(r"tpavi_b\d\.align_channel\.bias$")
_BACKBONE_PREFIXES = ("encoder.", *_TPAVI_BACKBONES.values())
_POSTERIOR = re.compile(
    r"neck_post\.|decoder_post\.|mm_vae_model\.(enc_\w+_y\.|sc\d_posterior\.|noise_model_post\.|ba_lower_bound_\w+_post\.)"
)


def released_name(name: str) -> str:
    """Released name of a tensor of `ECMVAE` or `Objective`; the backbone's layers keep timm's names.

    Raises:
        KeyError: If the released model has no such tensor.
    """
    return _renamed(name, _RULES)


def _renamed(name: str, rules: _Rules) -> str:
    for pattern, replace in rules:
        if match := re.match(pattern, name):
            return replace(match) + name[match.end() :]
    raise KeyError(name)


def load_released_vggish(path_or_dict: Source) -> VGGish:
    """Build VGGish, in eval mode, from ``vggish-10086976.pth`` or its state dict.

    Raises:
        UserError: For a file that cannot be read, or the keys that do not fit.
    """
    vggish = VGGish()
    fill_audio_encoder(vggish, _without_module_prefix(_read(path_or_dict)), _where(path_or_dict))
    return vggish.eval()


def load_released_state_dict(path_or_dict: Source, backbone: str) -> ECMVAE | TPAVIBaseline:
    """Build the model of a released checkpoint: ECMVAE, or AVSBench's TPAVI baseline; distinguished by their keys.

    Accepted are the ``module.`` prefix of DataParallel, both spellings of the decoder, the basic and the aspp neck
    (distinguished by their keys), files with or without its unused tensors, and files without the posterior half. In
    these the posterior branch becomes a copy of the prior's tensors of the same name and shape; the rest of it (first
    layers, which see the mask too, and the audio encoder) starts at random. Nothing of it is used at test time.

    Args:
        path_or_dict: The file, or its state dict.
        backbone: "resnet50", "pvt_v2_b5" or "swin_b" (ECMVAE only).

    Returns:
        The model in eval mode, without audio encoder, with its `config`.

    Raises:
        UserError: For an unknown backbone, a file that cannot be read, or the keys that do not fit.
    """
    state, where = released_tensors(path_or_dict), _where(path_or_dict)
    config = released_config(state, backbone, where)
    model = build_model(config.model, image_size=config.data.image_size, with_audio_encoder=False)
    model.config = config
    assert isinstance(model, ECMVAE | TPAVIBaseline)
    rules = _RULES
    if isinstance(model, TPAVIBaseline):
        rules = ((r"backbone\.network\.", lambda _: _TPAVI_BACKBONES[backbone]), *_TPAVI_RULES)
    own = {_renamed(name, rules): tensor for name, tensor in model.state_dict().items()}
    given = {name: tensor for name, tensor in state.items() if not name.startswith(_HEADS)}
    if config.model.num_classes > 1:  # AVSS' projections of the sound have no bias
        given |= {
            name: torch.zeros_like(own[name])
            for name in own
            if _ALIGN_BIAS.match(name) and name not in given
        }
    partial = isinstance(model, ECMVAE) and not has_posterior(state)
    if partial:
        own, given = (
            {name: each[name] for name in each if not _POSTERIOR.match(name)}
            for each in (own, given)
        )
    compare_keys(where, own, given)
    _fill(model, given, rules)
    if partial and isinstance(model, ECMVAE):
        _copy_prior(model)
    return model.eval()


def load_released_loss(path_or_dict: Source) -> Objective:
    """Build the loss in its released form, with the checkpoint's heads of the mutual-information term.

    Raises:
        UserError: If the file cannot be read or has not all of the heads.
    """
    state, where = released_tensors(path_or_dict), _where(path_or_dict)
    heads = {name: tensor for name, tensor in state.items() if name.startswith(_HEADS)}
    loss_config = {"formulas": "released", "audio_visual_matching": 0.5}
    model_config = {"latent": {"dim": _latent_dim(state, where)}}
    loss = Objective.from_config(config_from_dict({"model": model_config, "loss": loss_config}))
    compare_keys(
        where, {released_name(name): tensor for name, tensor in loss.state_dict().items()}, heads
    )
    _fill(loss, heads)
    return loss


def released_tensors(path_or_dict: Source) -> dict[str, Tensor]:
    """The tensors of a released model in one spelling: no prefix, `fusion_block` decoders, no dead ones.

    Raises:
        UserError: For a file that cannot be read.
    """
    state: dict[str, Tensor] = {}
    backbones: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _BACKBONE_PREFIXES}
    for name, tensor in _without_module_prefix(_read(path_or_dict)).items():
        # The decoder called "simple" there counts its blocks from 0.
        name = re.sub(
            r"^(decoder_\w+)\.short_connect_with_decode_module\.(\d)\.",
            lambda m: f"{m[1]}.fusion_block_{int(m[2]) + 1}.",
            name,
        )
        # AVSBench splits ResNet's last two stages into a branch of their own and one that is never run.
        name = re.sub(r"^(resnet\.layer[34])_1\.", r"\1.", name)
        if (
            re.match(r"(fusion_modules\.|tpavi_b)\d\.", name)
            and tensor.ndim == 5
            and tensor.shape[2:] == (1, 1, 1)
        ):
            tensor = tensor[:, :, 0, 0, 0]  # a 1x1x1 convolution there, the same linear map here
        prefix = next((prefix for prefix in _BACKBONE_PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            state[name] = tensor
        else:
            backbones[prefix][name.removeprefix(prefix)] = tensor
    for prefix, encoder in backbones.items():
        state |= {f"{prefix}{name}": tensor for name, tensor in to_timm_names(encoder).items()}
    return {name: tensor for name, tensor in state.items() if not _DEAD.match(name)}


_PVT_RULES = (
    (r"patch_embed1\.", "patch_embed."),
    (r"patch_embed([2-4])\.", lambda m: f"stages_{int(m[1]) - 1}.downsample."),
    (r"block([1-4])\.", lambda m: f"stages_{int(m[1]) - 1}.blocks."),
    (r"norm([1-4])\.", lambda m: f"stages_{int(m[1]) - 1}.norm."),
)


def to_timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Spell a backbone's state dict as timm's feature extractors do.

    Known are the names of PVTv2's authors (pvt_v2_b5.pth), of Swin's authors (swin_base_patch4_window7_224.pth), of
    torchvision (resnet50-19c8e357.pth) and of timm itself. Classifiers and tables that the network computes itself are
    left out.
    """
    swin_original = "layers.0.downsample.reduction.weight" in state
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(("head.", "fc.", "norm.")) or name.endswith(
            ("relative_position_index", "attn_mask")
        ):
            continue
        if swin_original:
            # Swin's authors merge patches at the end of a stage, timm at the start of the next.
            name = re.sub(
                r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name
            )
        for pattern, replacement in _PVT_RULES:
            name = re.sub(f"^{pattern}", replacement, name)
        name = re.sub(r"^(layers|stages)\.", r"\1_", name.replace("dwconv.dwconv", "dwconv"))
        renamed[name] = tensor
    return renamed


def has_posterior(state: Mapping[str, Tensor]) -> bool:
    """Whether a released checkpoint has the half that only training needs.

    Its neck does not count: the released code runs both at test time, so a file for inference may have kept it.
    """
    return any(
        _POSTERIOR.match(name) for name in state if not name.startswith(("neck_post.", _HEADS))
    )


def released_config(state: Mapping[str, Tensor], backbone: str, where: str) -> Config:
    """The configuration of a released checkpoint: the kind of model, neck and widths follow from its tensors.

    Raises:
        UserError: For an unknown backbone, or a file that is neither an ECMVAE nor AVSBench's TPAVI.
    """
    if backbone not in BACKBONES:
        raise UserError(
            f"unknown backbone {backbone!r} of a released checkpoint: choose from {', '.join(BACKBONES)}"
        )
    if any(re.match(r"(tpavi_b|path)\d\.", name) for name in state):
        if backbone not in _TPAVI_BACKBONES:
            known = " and ".join(_TPAVI_BACKBONES)
            raise UserError(
                f"{where} is a checkpoint of AVSBench's TPAVI, which has {known} only, not {backbone}"
            )
        model = {"name": "tpavi", "visual": {"name": backbone}, "channels": 256}
        head = state.get(_TPAVI_HEAD)
        if head is None or head.ndim != 4 or len(head) == 1:
            return config_from_dict({"model": model, "loss": {"mask": "bce"}})
        # AVSS: a class a channel, and ten seconds that are taken as two clips of five.
        model |= {"num_classes": len(head), "window": FRAMES}
        loss = {"structure": 0.0, "posterior_structure": 0.0}
        data = {"name": "avss", "num_frames": 2 * FRAMES}
        return config_from_dict({"model": model, "loss": loss, "data": data})
    neck = "aspp" if any(".conv2d_list." in name for name in state) else "basic"
    latent = {"dim": _latent_dim(state, where)}
    return config_from_dict(
        {
            "model": {"visual": {"name": BACKBONES[backbone]}, "neck": neck, "latent": latent},
            "loss": {"formulas": "released"},
        }
    )


def _latent_dim(state: Mapping[str, Tensor], where: str) -> int:
    weight = state.get("mm_vae_model.sc1_prior.weight")
    if weight is None or weight.ndim != 2:
        raise UserError(
            f"{where} is not a released checkpoint of ECMVAE or TPAVI: mm_vae_model.sc1_prior.weight is missing, "
            f"it begins with {', '.join(list(state)[:4])}"
        )
    return weight.shape[0]


def _fill(module: nn.Module, state: Mapping[str, Tensor], rules: _Rules = _RULES) -> None:
    """Copy tensors under released names into a module; what has no counterpart in `state` stays as it is."""
    own = module.state_dict()
    module.load_state_dict(
        {name: state.get(_renamed(name, rules), tensor) for name, tensor in own.items()}
    )


def _copy_prior(model: ECMVAE) -> None:
    assert model.prior_branch is not None
    assert model.posterior_branch is not None
    prior = model.prior_branch.state_dict()
    own = model.posterior_branch.state_dict()
    shared = {
        name: prior[name] for name in own if name in prior and prior[name].shape == own[name].shape
    }
    model.posterior_branch.load_state_dict(own | shared)


def _read(source: Source) -> dict[str, Tensor]:
    return (
        named_tensors(source, "the state dict")
        if isinstance(source, Mapping)
        else read_weight_file(source)
    )


def _where(source: Source) -> str:
    return "the state dict" if isinstance(source, Mapping) else str(source)


def _without_module_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}
