"""From a finished run to a model of the wheel: its card is true, its hash registered, and bad runs leave nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from collage_fixture import make_sources
from huggingface_hub import ModelCard
from package_model import main, package

from ecmvae.config import config_from_dict
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.errors import UserError
from ecmvae.hub import named_models as registry
from ecmvae.hub.find import weights_sha256
from ecmvae.models import build_model
from ecmvae.models.checkpoint import load_model, save_model
from ecmvae.prediction.onnx_engine import OnnxEngine

CONFIG = config_from_dict(
    {
        "model": {
            "visual": {"name": "efficientnet_lite0"},
            "audio": {"name": "vggish_small", "weights": "/home/somebody/audio"},
            "channels": 8,
            "latent": {"dim": 2},
        },
        "data": {
            "name": "collage",
            "root": "/home/somebody/cache",
            "image_size": 32,
            "hop_seconds": 1.0,
        },
        "train": {
            "out": "/home/somebody/runs",
            "initial_checkpoint": "/home/somebody/first",
            "frozen_parts": ["backbone"],
            "seed": 77,
        },
    }
)
HOW = {"command": "ecmvae demo --seed 5", "commit": "0123abc", "split": "test", "clips": 2}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> CollageSources:
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `ecmvae demo` leaves it: model, scores, test clips."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    torch.manual_seed(1)
    weightless = replace(CONFIG.model, audio=replace(CONFIG.model.audio, weights=None))
    model = build_model(weightless, image_size=32, with_audio_encoder=True)
    save_model(model, run / "best", CONFIG, {"step": 40, "val/miou": 0.25})
    write_miniature(run / "data", "s4", {"test": 3}, source=ShapeScenes("s4", size=32))
    scores = {
        "real": {
            "per_clip": {"miou": 0.61234, "fscore": 0.7},
            "miou_nonempty": 0.5,
            "right_of_two": None,
        },
        "silent": {"per_clip": {"miou": 0.01}},
        "shuffled": {"per_clip": {"miou": 0.2}},
    }
    for split in ("test_unseen", "test_seen"):
        about = {"task": "s4", "split": split, "clips": 9, "seed": 4, "sha256": weights_sha256(run)}
        (run / "scores" / split).mkdir(parents=True)
        (run / "scores" / split / "report.json").write_text(
            json.dumps(
                {
                    "about": about,
                    "scores": scores,
                    "floors": {"all_objects": {"per_clip": {"miou": 0.458}}},
                }
            )
        )
    return run


@pytest.mark.slow
def test_a_run_becomes_a_named_model(
    run: Path, sources: CollageSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {"summary": "s", "source": "hf://a/b", "sha256": "0" * 64, "size": 1, "licence": "MIT"}
    (tmp_path / "models.yaml").write_text(
        yaml.safe_dump({"tiny": older, "other": older}, sort_keys=False)
    )
    monkeypatch.setattr(registry, "PACKAGED", tmp_path)
    folder = package(run, "tiny", home=tmp_path, sources=sources, **HOW)
    models = registry.named_models()
    assert list(models) == ["tiny", "other"]
    assert models["tiny"].state() == ("packaged", "")
    assert models["tiny"].sha256 == weights_sha256(folder)
    assert models["tiny"].size == (folder / "model.safetensors").stat().st_size

    loaded, original = load_model("tiny"), load_model(run)
    assert loaded.config.data.root is None
    assert not any(b"somebody" in path.read_bytes() for path in folder.iterdir())
    assert (folder / "model.onnx").stat().st_size < 1e6  # the graph alone
    assert OnnxEngine(folder / "model.onnx").image_size == load_model(folder).image_size
    for name, tensor in original.state_dict().items():
        assert torch.allclose(
            loaded.state_dict()[name].float(), tensor.float(), rtol=1e-3, atol=1e-7
        ), name
    noted = json.loads((folder / "metadata.json").read_text())
    assert noted["trained"] == {"step": 40, "val/miou": 0.25}
    assert noted["rounding"]["clips"] == 2
    assert noted["rounding"]["miou"] < 0.002


def test_the_card_tells_what_the_reports_say(
    run: Path, sources: CollageSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # it takes half a minute
    monkeypatch.setattr("package_model.write_graph", lambda folder: folder)
    card = ModelCard.load(package(run, "tiny", home=tmp_path, sources=sources, **HOW) / "README.md")
    assert card.data.license == "apache-2.0"
    results = {
        (result.dataset_split, result.metric_type): result.metric_value
        for result in card.data.eval_results
    }
    assert results == {(split, kind): value for split in ("test_seen", "test_unseen")
                       for kind, value in (("miou", 0.6123), ("fscore", 0.7))}  # fmt: skip
    assert (
        "| S4-like | test_unseen | 9 | 0.612 | 0.700 | 0.500 | - | 0.200 | 0.010 | 0.458 |"
        in card.text
    )
    assert "`ecmvae demo --seed 5`, commit 0123abc, seed 77" in card.text
    assert "Taken from `first` as it was before, trained earlier, and not changed: `backbone`." in (
        card.text
    )
    held_out = [item for item in sources.items if item.pool == "held_out" or item.pool == "test"]
    used = [item for item in sources.items if item not in held_out]
    kinds = {
        kind: sum(item.kind == kind for item in used)
        for kind in ("image", "sound", "other", "background")
    }
    counts = (
        f"{kinds['background']} backgrounds, {kinds['image']} cut-outs, {kinds['other']} other sounds, "
        f"{kinds['sound']} recordings"
    )
    assert f"| drawn | CC0-1.0 | {counts} |" in card.text
    assert "bar, cross, disc, ring, square, wedge" in card.text


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("size", r"would be 9\.\d MB in 16 bits: 0 MB is the limit"),
        ("scores", "was scored with other weights"),
        ("data", "is not a written AVS-Collage"),
    ],
)
def test_a_bad_run_leaves_nothing(
    fault: str,
    message: str,
    run: Path,
    sources: CollageSources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how = dict(HOW)
    if fault == "size":
        monkeypatch.setattr("package_model.MAX_BYTES", 1000)
    elif fault == "scores":
        monkeypatch.setattr("package_model.weights_sha256", lambda _: "0" * 64)
    else:
        how["data"] = tmp_path / "nowhere"
    with pytest.raises(UserError, match=message):
        package(run, "tiny", home=tmp_path, sources=sources, **how)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--name", "x", "--command", "c", "--commit", "h"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is not a model folder")
