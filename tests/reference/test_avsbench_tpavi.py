"""AVSBench's TPAVI checkpoints, both backbones, against a plain re-computation from their released keys.

No output of AVSBench's own code was available for the whole model: its TPAVI block is compared with known answers in
test_released_blocks.py, the rest against `plain_networks`.
"""

import plain_networks as plain
import pytest
import torch
from released_case import close, drawn, released_shapes

from ecmvae.evaluation.tasks import ClassTask
from ecmvae.models import TPAVIBaseline
from ecmvae.released_checkpoints import load_released_state_dict, to_timm_names
from ecmvae.types import AVBatch

SIDE, FRAMES = 96, 2  # the finest maps are 24 pixels wide: every dilation reaches a neighbour
LISTS = {"pvt_v2_b5": "pvt", "resnet50": "resnet"}
PREFIX = {"pvt_v2_b5": "encoder_backbone.", "resnet50": "resnet."}


def shapes(backbone: str, classes: int = 1) -> dict[str, list[int]]:
    known = released_shapes(LISTS[backbone])  # ECMVAE's lists; both wrap the same two backbones
    encoder = {
        key.removeprefix("encoder."): shape
        for key, shape in known.items()
        if key.startswith("encoder.")
    }
    return plain.avsbench_shapes(backbone, encoder, classes)


def maps(
    state: plain.State, frames: torch.Tensor, backbone: str, **options: float
) -> list[torch.Tensor]:
    if backbone == "pvt_v2_b5":
        return plain.pvt_v2_b5(state, frames, PREFIX[backbone], **options)
    return plain.resnet50(
        state, frames, PREFIX[backbone], ("layer1", "layer2", "layer3_1", "layer4_1")
    )


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("resnet50", 91_400_961), ("pvt_v2_b5", 101_320_577)]
)
@torch.no_grad()
def test_a_checkpoint_computes_what_its_keys_say(backbone: str, parameters: int) -> None:
    state = drawn(shapes(backbone))
    assert parameters == sum(
        tensor.numel()
        for key, tensor in state.items()
        if "running_" not in key and "num_batches" not in key
    )
    model = load_released_state_dict(
        {f"module.{key}": tensor for key, tensor in state.items()}, backbone
    )
    assert isinstance(model, TPAVIBaseline)
    model.image_size = SIDE
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(FRAMES, 3, SIDE, SIDE, generator=generator)
    audio = torch.rand(FRAMES, 128, generator=generator)

    output = model(frames[None], audio[None])
    pyramid = maps(state, frames, backbone)
    logits, fused, sounds = plain.avsbench(state, pyramid, audio)
    name = "PVTv2-b5" if backbone == "pvt_v2_b5" else "ResNet-50"
    for ours, theirs in zip(model.extract_features(frames[None]), pyramid, strict=True):
        close(f"{name}: backbone's maps", ours[0], theirs, atol=1e-4)
    for ours, theirs in zip(output.prior_branch.fused, fused, strict=True):
        close(f"TPAVI baseline, {name}: fused maps", ours, theirs, atol=3e-4)
    for ours, theirs in zip(output.prior_branch.audio, sounds, strict=True):
        close(f"TPAVI baseline, {name}: aligned sound", ours, theirs, atol=1e-4)
    assert logits.std() > 0.1
    close(f"TPAVI baseline, {name}: logits", output.logits[0], logits, atol=1e-3)

    if backbone == "pvt_v2_b5":
        # With tokens this small the norms' epsilons are most of what they divide by.
        state[f"{PREFIX[backbone]}patch_embed1.norm.weight"] *= 1e-3
        state[f"{PREFIX[backbone]}patch_embed1.norm.bias"] *= 1e-3
        encoder = {
            key.removeprefix(PREFIX[backbone]): tensor
            for key, tensor in state.items()
            if PREFIX[backbone] in key
        }
        model.backbone.load_named(to_timm_names(encoder), "the state dict")
        small, other = (maps(state, frames[:1], backbone, eps=eps)[0] for eps in (1e-6, 1e-5))
        close("PVTv2-b5: first map of tiny tokens", model.backbone(frames[:1])[0], small, atol=1e-4)
        assert (small - other).abs().max() > 0.1


@pytest.mark.parametrize(
    "backbone", [pytest.param("resnet50", marks=pytest.mark.slow), "pvt_v2_b5"]
)
@torch.no_grad()
def test_an_avss_checkpoint_computes_what_its_keys_say(backbone: str) -> None:
    """A head of 71 classes, and ten seconds as two clips of five; shorter clips are padded with black and silence.

    Of AVSBench's code this needs the window of five and the sound that is zero in padded seconds. It also zeroes the
    maps of padded frames, which no real frame sees, and their logits: the answer there is class 0.
    """
    side, seconds = 32, 10
    state = drawn(shapes(backbone, 71))
    model = load_released_state_dict(state, backbone)
    assert isinstance(model, TPAVIBaseline)
    assert (model.num_classes, model.config.data.name, model.config.data.num_frames) == (
        71,
        "avss",
        seconds,
    )
    assert all(not block.align.bias.any() for block in model.fusion)
    model.image_size = side
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2, seconds, 3, side, side, generator=generator)
    audio = torch.rand(2, seconds, 128, generator=generator)
    valid = torch.ones(2, seconds, dtype=torch.bool)
    valid[1, 5:] = False
    frames[~valid] = 0
    batch = AVBatch(names=("v2", "v1s"), frames=frames, valid=valid)

    heard = batch.without_padding(audio)
    assert torch.equal(heard[1, 5:], torch.zeros(5, 128))
    logits = model(frames, heard).logits
    assert logits.shape == (2, seconds, 71, side, side)
    name = "PVTv2-b5" if backbone == "pvt_v2_b5" else "ResNet-50"
    for clip, start in ((0, 0), (0, 5), (1, 0)):
        part = slice(start, start + 5)
        expected, *_ = plain.avsbench(
            state, maps(state, frames[clip, part], backbone), audio[clip, part]
        )
        assert expected.std() > 0.01
        close(f"TPAVI baseline for AVSS, {name}: logits", logits[clip, part], expected, atol=1e-3)
    answer = ClassTask([f"class {k}" for k in range(71)]).decode([logits], valid)["classes"]
    assert torch.equal(answer[valid], logits.argmax(2)[valid])
    assert not answer[1, 5:].any()
    assert logits[1, 5:].argmax(2).any()
