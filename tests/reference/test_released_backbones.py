"""Swin-B in its released layout and with its released taps against torchvision's own; see also test_avsbench_tpavi.py.

PVTv2-b5 and ResNet-50 are held against `plain_networks` there, where their tensors are drawn anyway.
"""

import re

import torch
import torchvision
from released_case import close, drawn, released_shapes

from ecmvae.released_checkpoints import to_timm_names
from ecmvae.visual.backbone import VisualBackbone

TABLES = ("relative_position_index", "attn_mask")


def _torchvision_name(name: str) -> str:
    """Its Sequential alternates: patches, stage, merging, stage, merging ..."""
    name = re.sub(
        r"^patch_embed\.(proj|norm)", lambda m: f"features.0.{0 if m[1] == 'proj' else 2}", name
    )
    name = re.sub(r"^layers\.(\d)\.blocks\.", lambda m: f"features.{2 * int(m[1]) + 1}.", name)
    name = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 2}.", name)
    return name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


@torch.no_grad()
def test_swin_b_before_each_stage() -> None:
    shapes = released_shapes("swin_encoder_only")
    state = drawn(
        {name: shape for name, shape in shapes.items() if not name.startswith("layers.3.")}
    )  # never used
    for name, tensor in state.items():
        if name.endswith("relative_position_bias_table"):
            tensor.mul_(5)  # so that a wrong position would be seen
    ours = VisualBackbone("swin_b_pre").eval()
    ours.load_named(to_timm_names(state), "the state dict")
    theirs = torchvision.models.swin_b().eval()
    fitted = theirs.load_state_dict(
        {
            _torchvision_name(name): tensor
            for name, tensor in state.items()
            if not name.endswith(TABLES)
        },
        strict=False,
    )
    assert not fitted.unexpected_keys
    left = [
        name
        for name in fitted.missing_keys
        if not name.startswith(("features.7.", "norm.", "head."))
    ]
    assert all(name.endswith(TABLES) for name in left)
    frames = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    x, taps = frames, []
    for index, layer in enumerate(list(theirs.features)[:7]):
        x = layer(x)
        if index % 2 == 0:
            taps.append(x.permute(0, 3, 1, 2))
    for mine, known in zip(ours(frames), taps, strict=True):
        close("Swin-B: maps before each stage", mine, known, atol=1e-4)
