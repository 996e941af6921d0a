"""A model that marks less, and nothing else of it changed."""

from pathlib import Path

import pytest
import torch
from shift_choice import main

from ecmvae.config import Config, load_config
from ecmvae.models import build_model
from ecmvae.models.checkpoint import load_model, save_model

LAYERS = Path(__file__).parents[2] / "configs" / "layers"


def _saved(folder: Path, *, regions: bool) -> Path:
    layers = [LAYERS / "agreement.yaml"] + [LAYERS / "regions.yaml"] * regions
    config: Config = load_config(
        layers,
        {"model.visual.name": "efficientnet_lite0", "model.channels": 8, "data.image_size": 32},
    )
    torch.manual_seed(0)
    model = build_model(config.model, image_size=32)
    return save_model(model, folder / "best", config, {"step": 7}).parent


def test_only_the_bias_changes_and_fewer_pixels_are_marked(tmp_path: Path) -> None:
    run = _saved(tmp_path / "run", regions=True)
    assert main([str(run), str(tmp_path / "once"), "--by", "-2"]) == 0
    assert main([str(tmp_path / "once"), str(tmp_path / "twice"), "--by", "-0.5"]) == 0
    before, after = load_model(run), load_model(tmp_path / "twice")
    theirs = before.state_dict()
    changed = {
        name: (value - theirs[name]).item()
        for name, value in after.state_dict().items()
        if not torch.equal(value, theirs[name])
    }
    assert changed == pytest.approx({"agreement.answer.bias": -2.5})
    frames, audio = torch.randn(1, 2, 3, 32, 32), torch.rand(1, 2, 128)
    with torch.no_grad():
        loud, silent = (
            model(frames, audio, latents="mean").logits.sigmoid() for model in (before, after)
        )
    assert (silent < loud).all()
    noted = (tmp_path / "twice" / "best" / "metadata.json").read_text()
    assert '"choice_shifted_by": -2.5' in noted
    assert '"step": 7' in noted


def test_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _saved(tmp_path / "run", regions=False)
    assert main([str(run), str(tmp_path / "out"), "--by", "1"]) == 2
    assert "has no regions" in capsys.readouterr().err
    regions = _saved(tmp_path / "regions", regions=True)
    assert main([str(regions), str(run), "--by", "1"]) == 2
    assert "exists already" in capsys.readouterr().err
