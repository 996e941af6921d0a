"""Settings in vain are named; those of every shipped configuration have an effect."""

from pathlib import Path

import pytest

from ecmvae.config import load_config
from ecmvae.training.command import train
from ecmvae.training.settings import without_effect

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({}, {}),
        ({"model.name": "tpavi", "model.neck": "aspp"}, {"model.neck": "model.name=tpavi"}),
        (
            {"model.name": "tpavi", "model.latent.kind": "none"},
            {"model.latent.kind": "model.name=tpavi"},
        ),
        ({"model.latent.kind": "none"}, {}),
        (
            {"model.latent.kind": "none", "model.latent.dim": 8},
            {"model.latent.dim": "model.latent.kind=none"},
        ),
        (
            {"model.latent.kind": "single", "loss.orthogonality": 1},
            {"loss.orthogonality": "model.latent.kind=single"},
        ),
        (
            {"loss.audio_visual_matching_distance": "cosine"},
            {"loss.audio_visual_matching_distance": "loss.audio_visual_matching=0"},
        ),
        ({"loss.audio_visual_matching_distance": "cosine", "loss.audio_visual_matching": 0.5}, {}),
        ({"loss.match": 0.3}, {"loss.match": "model.fusion.kind=tpavi"}),
        ({"loss.match": 0.3, "model.fusion.kind": "gate"}, {}),
        ({"loss.outlines": 1}, {"loss.outlines": "model.fusion.kind=tpavi"}),
        ({"data.free_scenes": 0.5}, {"data.free_scenes": "data.name=s4"}),
        ({"data.folds": 5, "data.name": "synthetic"}, {"data.folds": "data.name=synthetic"}),
        ({"data.folds": 5, "data.fold": 2, "data.name": "collage"}, {}),
        ({"loss.kl": 0, "loss.kl_warmup_epochs": 5}, {"loss.kl_warmup_epochs": "loss.kl=0"}),
        ({"model.window": 5}, {"model.window": "model.name=ecmvae"}),
        ({"model.name": "tpavi", "model.window": 5}, {}),
    ],
)
def test_what_has_no_effect(settings: dict[str, object], idle: dict[str, str]) -> None:
    assert without_effect(load_config((), settings)) == idle


RECIPES = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("reproduce/*.yaml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_no_configuration_sets_anything_in_vain(path: Path) -> None:
    assert without_effect(load_config(path)) == {}


def test_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "ecmvae.training.run.train", lambda config, resume, files: Path("runs/it-001")
    )
    train(load_config((), {"model.name": "tpavi", "model.latent.dim": 8}))
    assert (
        capsys.readouterr().err
        == "ecmvae: note: model.latent.dim has no effect with model.name=tpavi\n"
    )
