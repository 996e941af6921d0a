"""`ecmvae vae ...` on scikit-learn's digits, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.training.vae import VAEConfig, draw, load_vae, load_vae_config
from ecmvae.vae.zoo import build_vae

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "vae").glob("*.yaml"))
SHAPES = {
    "folder": (3, 64, 64),
    "mnist": (1, 28, 28),
    "fashion": (1, 28, 28),
    "digits": (1, 8, 8),
    "poly_digits": (5, 3, 16, 16),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on the digits."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    assert (
        main(
            [
                "vae",
                "train",
                "--data",
                "digits",
                "--latent_dim",
                "2",
                "--epochs",
                "3",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_builds_and_steps(path):
    config = load_vae_config(path)
    shape = SHAPES[config.data.name]
    if config.data.pad_to:
        shape = (1, config.data.pad_to, config.data.pad_to)
    model = build_vae(config.model, shape)
    from ecmvae.vae.multimodal import MultimodalVAE
    from ecmvae.vae.zoo import batch_for

    batch = batch_for(model, torch.rand(4, *shape), torch.arange(4))
    output = model(batch) if isinstance(model, MultimodalVAE) else model(**batch)
    output.loss.backward()
    assert torch.isfinite(output.loss)


def test_a_run_is_a_folder(run):
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml",
        "model.safetensors",
        "last.pt",
        "history.json",
    }
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["latent_dim"] == 2
    assert saved["fit"]["epochs"] == 3
    assert len(json.loads((run / "history.json").read_text())) == 3
    assert (run / "model.safetensors").stat().st_mode & 0o777 == 0o644  # others may use it


def test_score_prints_and_keeps_true_bounds(run, capsys):
    assert main(["vae", "score", str(run), "--num_samples", "10"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads((run / "score.json").read_text())
    assert numbers["negative_iwae_10"] <= numbers["negative_elbo"]
    assert numbers["test_images"] == 297
    assert sum(numbers["kl_per_dimension"]) == pytest.approx(numbers["kl"], abs=1e-3)


def test_sample_and_traverse_write_pictures(run, tmp_path):
    assert main(["vae", "sample", str(run), "--out", str(tmp_path / "s.png"), "--count", "12"]) == 0
    width, height = Image.open(tmp_path / "s.png").size
    assert width >= 10 * 18 - 2  # ten columns of 8 pixels, twice as large
    assert height > 2 * 18 - 2  # two rows below a title
    assert (
        main(["vae", "traverse", str(run), "--out", str(tmp_path / "t.png"), "--steps", "5"]) == 0
    )
    grid = np.asarray(Image.open(tmp_path / "t.png"))
    assert min(grid.shape[:2]) > 5 * 18 - 2
    assert grid[-60:].std() > 5


def test_loading_gives_the_trained_model(run):
    model, config = load_vae(run)
    assert isinstance(config, VAEConfig)
    assert torch.equal(draw(model, config, 3), draw(model, config, 3))
    fresh = build_vae(config.model, (1, 8, 8))
    assert not torch.equal(model.decoder.layers[0].weight, fresh.decoder.layers[0].weight)


def test_resume_goes_on_and_a_second_start_is_refused(run, capsys):
    assert main(["vae", "train", "--out", str(run), "--resume", "true", "--epochs", "4"]) == 0
    assert len(json.loads((run / "history.json").read_text())) == 4
    assert main(["vae", "train", "--data", "digits", "--out", str(run)]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_a_folder_in_which_another_process_trains_is_refused(run, capsys):
    """The other process really holds the lock."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom ecmvae.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        before = sorted((path, path.stat().st_mtime_ns) for path in run.iterdir())
        assert main(["vae", "train", "--out", str(run), "--resume", "true"]) == 2
        assert sorted((path, path.stat().st_mtime_ns) for path in run.iterdir()) == before
        other.kill()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is in use by process {other.pid} on " in line


@pytest.mark.parametrize("name", ["autoencoder", "conditional_vae", "mvae"])
def test_other_kinds_train_sample_and_score(name, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        yaml.safe_dump({"model": {"name": name}, "data": {"name": "digits"}, "fit": {"epochs": 1}})
    )
    folder = str(tmp_path / "run")
    assert main(["vae", "train", "--config", str(config), "--out", folder, "--device", "cpu"]) == 0
    assert main(["vae", "sample", folder, "--out", str(tmp_path / "s.png")]) == 0
    assert main(["vae", "score", folder]) == 0


def test_several_pictures_of_one_digit_train_sample_and_score_their_coherence(tmp_path, capsys):
    config, folder = tmp_path / "c.yaml", str(tmp_path / "run")
    config.write_text(
        "model: {name: mmjsd, latent_dim: 8, hidden: 64}\ndata: {name: poly_digits, limit: 2000}\n"
        "fit: {epochs: 1, device: cpu}"
    )
    assert main(["vae", "train", "--config", str(config), "--out", folder]) == 0
    assert main(["vae", "sample", folder, "--out", str(tmp_path / "s.png"), "--count", "4"]) == 0
    assert Image.open(tmp_path / "s.png").width >= 4 * 5 * 16  # five pictures of each, side by side
    capsys.readouterr()
    assert main(["vae", "score", folder, "--limit", "300"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert min(numbers["classifier_accuracy"].values()) > 0.6
    table = numbers["conditional_coherence"]
    assert len(table) == 31 * 5
    cross = [
        share
        for key, share in table.items()
        if key.count("image_") == 2 and len(set(key.split(" -> "))) == 2
    ]
    assert len(cross) == 20
    assert numbers["cross_modal_coherence"]["1"] == pytest.approx(sum(cross) / 20, abs=1e-4)
    assert 0 <= numbers["joint_coherence"] <= 1


@pytest.mark.parametrize("prior", ["gaussian", "mixture", "vamp", "flow"])
def test_a_learnt_prior_trains_scores_samples_and_traverses(prior, tmp_path, capsys):
    config, folder = tmp_path / "c.yaml", str(tmp_path / "run")
    config.write_text(
        f"model: {{name: vae, latent_dim: 2, hidden: 32, prior: {prior}, free_bits: 0.1}}\n"
        "data: {name: digits, limit: 300}\nfit: {epochs: 2, device: cpu}"
    )
    assert main(["vae", "train", "--config", str(config), "--out", folder]) == 0
    assert main(["vae", "sample", folder, "--out", str(tmp_path / "s.png")]) == 0
    assert main(["vae", "traverse", folder, "--out", str(tmp_path / "t.png")]) == 0
    capsys.readouterr()
    assert main(["vae", "score", folder, "--num_samples", "5"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert len(numbers["kl_per_dimension"]) == (2 if prior == "gaussian" else 0)
    assert numbers["negative_iwae_5"] <= numbers["negative_elbo"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: {kl_warmup_epochs: -1}", "kl_warmup_epochs must be at least 0, got -1"),
        ("model: {nam: vae}", "'model.nam': did you mean 'model.name'"),
        ("modell: {name: vae}", "did you mean 'model'"),
        ("fit: {epochs: ten}", "takes a whole number, got 'ten'"),
        ("model: {name: vea}", "takes one of 'autoencoder', 'vae'"),
        ("- 1", "must hold a mapping"),
        ("model: {", "not valid YAML"),
        ("fit: {epochs: 0}", "epochs must be at least 1"),
    ],
)
def test_bad_configs_say_what_to_do(text, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_vae_config(path)


def test_mistakes_end_with_two_and_one_line(tmp_path, capsys):
    assert main(["vae", "score", str(tmp_path)]) == 2
    assert main(["vae", "train", "--config", str(tmp_path / "none.yaml")]) == 2
    assert (
        main(["vae", "train", "--data", "digits", "--beta", "-1", "--out", str(tmp_path / "run")])
        == 2
    )
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    (tmp_path / "config.yaml").write_text(
        "model: {name: vae, latent_dim: 2, hidden: 8}\ndata: {name: digits}"
    )
    assert main(["vae", "score", str(tmp_path)]) == 2
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert main(["vae", "score", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 5
    assert "is not a plain weight file" in lines[3]
    assert "is not of the model in" in lines[4]
    assert "no trained model" in lines[0]
    assert "beta" in lines[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "RUN", "--out", "x.mp4"], "end it with .png"),
        (["sample", "RUN", "--out", "x" * 300 + ".png"], "File name too long"),
        (["sample", "RUN", "--count", "-1"], "count must be from 1"),
        (["sample", "RUN", "--seed", str(2**70)], "seed must be from 0"),
        (["traverse", "RUN", "--steps", str(2**70)], "steps must be from 1"),
        (["traverse", "RUN", "--span", "1e308"], "span must be from"),
        (["traverse", "RUN", "--second", "2"], "second must be from 0 to 1"),
        (["score", "RUN", "--num_samples", "0"], "num_samples must be from 1"),
        (["score", "RUN", "--limit", "-1"], "limit must be from 1"),
    ],
)
def test_hostile_options_are_one_line(run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["vae", *(str(run) if word == "RUN" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_run_whose_configuration_was_changed_is_one_line(run, tmp_path, capsys):
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["model"]["noise_std"] = 1e308
    (copy / "config.yaml").write_text(yaml.safe_dump(settings))
    assert main(["vae", "score", str(copy), "--limit", "2"]) == 2
    error = capsys.readouterr().err
    assert "config.yaml: noise_std has no effect" in error
    assert error.count("\n") == 1
