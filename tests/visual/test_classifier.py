"""The backbone's own classifier on every cell, against timm's whole network, and the table of codes."""

from pathlib import Path

import pytest
import timm
import torch

from ecmvae.errors import UserError
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.classifier import DenseClassifier, code_names, code_table


@torch.no_grad()
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50"])
def test_the_mean_over_the_cells_is_what_the_whole_network_says(name: str) -> None:
    torch.manual_seed(0)
    full = timm.create_model(
        "tf_efficientnet_lite0" if name == "efficientnet_lite0" else name
    ).eval()
    for module in full.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    classifier, backbone = DenseClassifier(name), VisualBackbone(name).eval()
    classifier.load_state_dict(
        {
            own: full.state_dict()[theirs]
            for own, theirs in zip(
                classifier.state_dict(),
                [
                    key
                    for key in full.state_dict()
                    if key.startswith(("conv_head", "bn2", "classifier", "fc."))
                ],
                strict=True,
            )
        }
    )
    ours = backbone.network.state_dict()
    backbone.network.load_state_dict({key: full.state_dict()[key] for key in ours})
    frames = torch.randn(2, 3, 64, 96)
    features, scores = classifier.train()(backbone(frames)[-1])
    assert features.shape == (2, classifier.width, 2, 3)
    assert torch.allclose(scores.mean((2, 3)), full(frames), atol=1e-3)
    assert not classifier.training


def test_a_network_without_a_linear_classifier_is_refused() -> None:
    with pytest.raises(UserError, match="unknown visual backbone 'resnet5'"):
        DenseClassifier("resnet5")


def test_the_table_of_the_collage_knows_the_dogs() -> None:
    table = code_table("collage", 40, 1000)
    assert table.shape == (40, 1000)
    assert [row for row in range(40) if table[row, 207]] == [9]  # a golden retriever is a dog
    assert not table[:, 508].any()  # a keyboard is nothing
    assert not table[35:].any()
    names = code_names("collage")
    assert (len(names), names[9], names[34]) == (35, "dog", "zebra")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1000]", "names 1000, not a class number below 1000"),
        ("a: [9-3]", "names '9-3'"),
        ("a: [dog]", "names 'dog'"),
        ("a: [1]\nb: [2]\nc: [3]", "has 3 codes, more than model.latent.dim = 2"),
        ("- 1", "needs lines 'code: [class numbers]'"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "codes.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        code_table(str(file), 2, 1000)
    assert complaint in str(refused.value)


def test_a_missing_table_says_where_it_was_looked_for() -> None:
    with pytest.raises(UserError, match="nowhere"):
        code_table("nowhere.yaml", 2, 1000)
