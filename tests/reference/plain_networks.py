"""The released networks once more, as plain functions of a state dict under its released keys: an independent judge.

Nothing of ecmvae or timm is used. PVTv2 after arXiv 2106.13797, ResNet-50 after 1512.03385 (stride on the 3x3), TPAVI
and its decoder after AVSBench (arXiv 2207.05042), with the L x L attention written out.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def _linear(w: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _layer_norm(w: State, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def _conv(w: State, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), **options)


def _batch_norm(w: State, name: str, x: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance, weight, bias = (
        w[f"{name}.{part}"].reshape(shape)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def pvt_v2_b5(w: State, x: Tensor, prefix: str, eps: float = 1e-6) -> list[Tensor]:
    """Maps at strides 4 to 32; eps is that of the blocks' and the stages' norms, the others have 1e-5."""
    maps = []
    for stage, (depth, heads, ratio) in enumerate(
        zip((3, 6, 40, 3), (1, 2, 5, 8), (8, 4, 2, 1), strict=True), start=1
    ):
        first = stage == 1
        embedded = f"{prefix}patch_embed{stage}"
        x = _conv(w, f"{embedded}.proj", x, stride=4 if first else 2, padding=3 if first else 1)
        size = x.shape[2:]
        x = _layer_norm(w, f"{embedded}.norm", x.flatten(2).mT, 1e-5)

        def as_map(tokens: Tensor, size: tuple[int, ...] = size) -> Tensor:
            return tokens.mT.unflatten(2, size)

        for block in (f"{prefix}block{stage}.{index}." for index in range(depth)):
            seen = reduced = _layer_norm(w, f"{block}norm1", x, eps)
            if ratio > 1:
                reduced = _conv(w, f"{block}attn.sr", as_map(seen), stride=ratio).flatten(2).mT
                reduced = _layer_norm(w, f"{block}attn.norm", reduced, 1e-5)
            query = _linear(w, f"{block}attn.q", seen).unflatten(2, (heads, -1))
            key, value = (
                _linear(w, f"{block}attn.kv", reduced).unflatten(2, (2, heads, -1)).unbind(2)
            )
            scores = torch.einsum("nqhd,nkhd->nhqk", query, key) / query.shape[-1] ** 0.5
            heard = torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), value).flatten(2)
            x = x + _linear(w, f"{block}attn.proj", heard)
            wide = _linear(w, f"{block}mlp.fc1", _layer_norm(w, f"{block}norm2", x, eps))
            wide = _conv(
                w, f"{block}mlp.dwconv.dwconv", as_map(wide), padding=1, groups=wide.shape[-1]
            )
            x = x + _linear(w, f"{block}mlp.fc2", F.gelu(wide.flatten(2).mT))
        x = as_map(_layer_norm(w, f"{prefix}norm{stage}", x, eps))
        maps.append(x)
    return maps


def resnet50(w: State, x: Tensor, prefix: str, stages: tuple[str, ...]) -> list[Tensor]:
    """Maps at strides 4 to 32 of the stages of these names."""
    x = _batch_norm(w, f"{prefix}bn1", _conv(w, f"{prefix}conv1", x, stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, depth in zip(stages, (3, 4, 6, 3), strict=True):
        for index in range(depth):
            block, stride = (
                f"{prefix}{stage}.{index}.",
                2 if index == 0 and stage != stages[0] else 1,
            )
            y = _batch_norm(w, f"{block}bn1", _conv(w, f"{block}conv1", x)).relu()
            y = _batch_norm(
                w, f"{block}bn2", _conv(w, f"{block}conv2", y, stride=stride, padding=1)
            ).relu()
            y = _batch_norm(w, f"{block}bn3", _conv(w, f"{block}conv3", y))
            if index == 0:
                x = _batch_norm(
                    w, f"{block}downsample.1", _conv(w, f"{block}downsample.0", x, stride=stride)
                )
            x = (x + y).relu()
        maps.append(x)
    return maps


def tpavi(w: State, name: str, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """One clip: maps (T, C, h, w) and sound (T, A) -> the fused maps, and the sound at their width."""
    frames, channels, height, width = visual.shape
    tokens = visual.permute(0, 2, 3, 1).reshape(-1, channels)  # (L, C)
    sound = audio @ w[f"{name}.align_channel.weight"].T + w.get(f"{name}.align_channel.bias", 0)
    spread = sound.repeat_interleave(height * width, 0)

    def point(layer: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.{layer}.weight"][:, :, 0, 0, 0].T + w[f"{name}.{layer}.bias"]

    weights = point("theta", tokens) @ point("phi", spread).T / len(tokens)  # (L, L)
    fused = _batch_norm(w, f"{name}.W_z.1", point("W_z.0", weights @ point("g", tokens))) + tokens
    fused = _layer_norm(w, f"{name}.norm_layer", fused, 1e-5)
    return fused.reshape(frames, height, width, channels).permute(0, 3, 1, 2), sound


def _residual(w: State, name: str, x: Tensor) -> Tensor:
    x = x.relu()  # in place there, so that what is added back is not x
    return x + _conv(w, f"{name}.conv2", _conv(w, f"{name}.conv1", x, padding=1).relu(), padding=1)


def avsbench(
    w: State, maps: list[Tensor], audio: Tensor
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """One clip: the backbone's maps and the sound -> logits, what the loss sees of the maps, sounds."""
    fused, sounds = [], []
    for level, each in enumerate(maps, start=1):
        rates = enumerate((3, 6, 12, 18))
        neck = sum(
            _conv(w, f"conv{level}.conv2d_list.{i}", each, padding=rate, dilation=rate)
            for i, rate in rates
        )
        clip, sound = tpavi(w, f"tpavi_b{level}", neck, audio)
        fused.append(clip)
        sounds.append(sound)
    x = torch.zeros(())
    for level in (4, 3, 2, 1):
        skip = fused[level - 1]
        x = skip if level == 4 else x + _residual(w, f"path{level}.resConfUnit1", skip)
        x = F.interpolate(
            _residual(w, f"path{level}.resConfUnit2", x),
            scale_factor=2,
            mode="bilinear",
            align_corners=True,
        )
    x = F.interpolate(
        _conv(w, "output_conv.0", x, padding=1),
        scale_factor=2,
        mode="bilinear",
        align_corners=False,
    )
    logits = _conv(w, "output_conv.4", _conv(w, "output_conv.2", x, padding=1).relu())
    return logits, [each.relu() for each in fused], sounds


WIDTHS = {"pvt_v2_b5": (64, 128, 320, 512), "resnet50": (256, 512, 1024, 2048)}


def avsbench_shapes(
    backbone: str, encoder: dict[str, list[int]], classes: int = 1
) -> dict[str, list[int]]:
    """Keys and shapes of AVSBench's checkpoints, dead ones included.

    Args:
        backbone: "pvt_v2_b5" or "resnet50".
        encoder: The backbone's own keys and shapes.
        classes: 1 for S4 and MS3; 71 for AVSS, whose projections of the sound have no bias.
    """
    shapes = {}
    for name, shape in encoder.items():
        if backbone == "pvt_v2_b5":
            shapes[f"encoder_backbone.{name}"] = shape
        elif name.startswith(
            ("layer3.", "layer4.")
        ):  # two branches, of which the second is never run
            for branch in "12":
                shapes[f"resnet.{name[:6]}_{branch}{name[6:]}"] = shape
        else:
            shapes[f"resnet.{name}"] = shape

    def convolution(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = list(shape), [shape[0]]

    for level, width in enumerate(WIDTHS[backbone], start=1):
        for branch in range(4):
            convolution(f"conv{level}.conv2d_list.{branch}", 256, width, 3, 3)
        for unit in (1, 2):
            for layer in (1, 2):
                convolution(f"path{level}.resConfUnit{unit}.conv{layer}", 256, 256, 3, 3)
        block = f"tpavi_b{level}"
        convolution(f"{block}.align_channel", 256, 128)
        if classes > 1:
            del shapes[f"{block}.align_channel.bias"]
        convolution(f"{block}.W_z.0", 256, 128, 1, 1, 1)
        for layer in ("g", "theta", "phi"):
            convolution(f"{block}.{layer}", 128, 256, 1, 1, 1)
        for norm in ("norm_layer", "W_z.1"):
            convolution(f"{block}.{norm}", 256)
        shapes |= {f"{block}.W_z.1.running_{part}": [256] for part in ("mean", "var")}
        shapes[f"{block}.W_z.1.num_batches_tracked"] = []
    convolution("output_conv.0", 128, 256, 3, 3)
    convolution("output_conv.2", 32, 128, 3, 3)
    convolution("output_conv.4", classes, 32, 1, 1)
    return shapes
