"""Trained VAEs in folders and on the hub: saved, pushed, loaded, and what a stranger's folder cannot do."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from fake_hub import serving
from safetensors.torch import load_file

from ecmvae.cli import main
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.vae.zoo import ModelName


def test_saved_pushed_and_loaded(picture_run, tmp_path, monkeypatch):
    trained = TrainedVAE.from_pretrained(picture_run)
    saved = trained.save_pretrained(tmp_path / "mine", half=True)
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        ["README.md", "config.yaml", "metadata.json", "model.safetensors"]
    )
    assert {each.dtype for each in load_file(saved / "model.safetensors").values()} == {
        torch.float16
    }
    text = "".join(
        (saved / name).read_text() for name in ("README.md", "config.yaml", "metadata.json")
    )
    assert str(Path(trained.config.data.root).parent) not in text  # no path of this machine
    again = TrainedVAE.from_pretrained(saved)
    samples = trained.data().samples("test")
    torch.testing.assert_close(
        again.reconstruct(samples), trained.reconstruct(samples), atol=0.01, rtol=0
    )
    assert (
        main(["vae", "sample", str(saved), "--out", str(tmp_path / "s.png"), "--count", "3"]) == 0
    )
    with serving(monkeypatch, tmp_path / "cache") as hub:
        trained.push_to_hub("me/vae")
        assert set(hub.files["me/vae"]) == {
            "README.md",
            "config.yaml",
            "metadata.json",
            "model.safetensors",
        }
        fetched = TrainedVAE.from_pretrained("me/vae")
        assert torch.equal(fetched.reconstruct(samples), trained.reconstruct(samples))
        assert (
            main(["vae", "sample", "hf://me/vae", "--out", str(tmp_path / "h.png"), "--count", "3"])
            == 0
        )


def test_a_foreign_folder_runs_no_code_and_takes_no_memory(picture_run, tmp_path, capsys):
    def altered(**model: object) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in ("metadata.json", "model.safetensors"):
            shutil.copy(picture_run / name, folder)
        settings = yaml.safe_load((picture_run / "config.yaml").read_text())
        settings["model"] |= model
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        return str(folder)

    huge, code = altered(latent_dim=65536, hidden=65536), altered(prior="antigravity:Prior")
    broken = altered()
    (Path(broken) / "metadata.json").write_text(
        '{"event_shape": [3, 100000, 100000], "conditions": {}}'
    )
    for folder in (huge, code, broken):
        assert main(["vae", "sample", folder, "--out", str(tmp_path / "s.png")]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "is not of the model in" in first
    assert (
        "names code by import path (antigravity:Prior): pass trust_code=True / --trust_code"
        in second
    )
    assert "metadata.json is not that of a model" in third


@pytest.mark.parametrize("name", ModelName.__args__)
def test_shapes_are_checked_without_memory_for_every_model(name):
    """Loading compares a file with a model that has no memory yet: every model can be built that way."""
    from ecmvae.vae.zoo import ModelSettings, build_vae

    shape = (1, 32, 32) if name.startswith("keras") else (3, 32, 32)
    with torch.device("meta"):
        built = build_vae(ModelSettings(name=name, latent_dim=2), shape)
    real = build_vae(ModelSettings(name=name, latent_dim=2), shape)
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in real.state_dict().items()
    }
