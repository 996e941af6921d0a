"""`ecmvae vae ...` on a folder of one's own pictures: what a run keeps, every kind of model, and mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from drawn_pictures import SIDE, config_of, train
from PIL import Image

from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.training.vae import DataSettings, load_vae, train_vae
from ecmvae.training.vae_data import RunData
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.training.vae_settings import load_vae_config

HAIR, SMILING = ("Hair=blue", "Hair=red"), ("Smiling",)


def test_a_run_remembers_its_data_and_loads_without_it(picture_root, tmp_path):
    mine = shutil.copytree(picture_root, tmp_path / "mine")
    folder = train(tmp_path / "run", config_of(mine, "vae"))
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["event_shape"] == [3, SIDE, SIDE]
    assert metadata["conditions"] == {"attributes": ["Smiling"], "Hair": ["Hair=blue", "Hair=red"]}
    assert metadata["data"] == f"folder:{mine}"
    assert metadata["training_pictures"]["count"] == 46
    shutil.rmtree(mine)
    model, config = load_vae(folder)
    assert config.data.root == str(mine)
    assert model.sample(2).shape == (2, 3, SIDE, SIDE)
    assert main(["vae", "sample", str(folder), "--out", str(tmp_path / "s.png")]) == 0
    assert main(["vae", "score", str(folder), "--data", f"folder:{picture_root}"]) == 0
    assert not (folder / "score.json").exists()  # of other data than the run's


def test_missing_data_is_one_line(picture_root, tmp_path, capsys):
    mine = shutil.copytree(picture_root, tmp_path / "mine")
    folder = train(tmp_path / "run", config_of(mine, "autoencoder"))
    shutil.rmtree(mine)
    capsys.readouterr()
    for words in (["score"], ["sample", "--out", str(tmp_path / "s.png")]):
        assert main(["vae", words[0], str(folder), *words[1:]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "mine is not a folder of pictures" in line


def test_the_path_on_the_command_line_is_taken_as_it_is(picture_root, tmp_path, monkeypatch):
    odd = tmp_path / "a: [b] #1"
    shutil.copytree(picture_root, odd)
    monkeypatch.chdir(tmp_path)
    words = [
        "--data",
        "folder:a: [b] #1",
        "--size",
        str(SIDE),
        "--epochs",
        "1",
        "--out",
        "run",
        "--device",
        "cpu",
    ]
    assert main(["vae", "train", *words]) == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"]["root"] == str(odd)
    monkeypatch.chdir(picture_root)
    assert main(["vae", "score", str(tmp_path / "run"), "--num_samples", "2"]) == 0


@pytest.mark.parametrize(
    "name",
    [
        "autoencoder",
        "conditional_vae",
        "mvae",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("face_vae", "dmvae")),
    ],
)
def test_every_kind_trains_and_goes_through_every_command(name, picture_root, tmp_path, capsys):
    folder = str(train(tmp_path / "run", config_of(picture_root, name)))
    out = lambda suffix: str(tmp_path / f"out{suffix}")  # noqa: E731
    assert main(["vae", "sample", folder, "--out", out("s.png"), "--count", "6"]) == 0
    assert main(["vae", "reconstruct", folder, "--out", out("r.png"), "--count", "3"]) == 0
    assert main(["vae", "encode", folder, "--out", out("e.npz")]) == 0
    assert main(["vae", "morph", folder, "0", "1", "--out", out("m.png"), "--steps", "3"]) == 0
    assert (
        main(
            ["vae", "edit", folder, "--attribute", "Smiling", "--out", out("d.png"), "--count", "2"]
        )
        == 0
    )
    words = ["--out", out("o.png"), "--table", out("o.csv"), "--count", "2", "--num_samples", "2"]
    assert main(["vae", "outliers", folder, *words]) == 0
    assert main(["vae", "train", "--resume", "--out", folder, "--epochs", "3"]) == 0
    capsys.readouterr()
    assert main(["vae", "score", folder, "--num_samples", "2"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["test_images"] == 7
    assert ("attributes" in numbers) == (name in ("mvae", "dmvae"))
    if name == "mvae":
        assert set(numbers["attributes"]) == {"attributes", "Hair"}
    codes = np.load(tmp_path / "oute.npz")
    assert codes["codes"].shape[0] == len(codes["names"]) == 7
    assert np.array_equal(
        codes["factors"],
        RunData(DataSettings(name=f"folder:{picture_root}")).samples("test").factors,
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "folder"}, "needs the folder's path"),
        ({"name": "mnist", "size": 32}, "data.size has no effect on mnist"),
        ({"name": "folder:x", "pad_to": 32}, "data.pad_to has no effect on folder"),
        ({"name": "folder:x", "size": 100000}, "data.size must be from 4 to 1024"),
        ({"name": "folders:x"}, "takes one of mnist, .* and folder:PATH, got 'folders:x'"),
    ],
)
def test_data_settings_say_what_is_wrong(data, message):
    with pytest.raises(UserError, match=message):
        DataSettings(**data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["edit", "RUN", "--attribute", "Smilling"],
            "has no attribute 'Smilling': did you mean Smiling?",
        ),
        (["edit", "RUN"], "give --attribute NAME"),
        (["edit", "RUN", "--attribute", "Hair=green"], "did you mean Hair=red?"),
        (["reconstruct", "RUN", "none.jpg"], "none.jpg: no such file"),
        (["reconstruct", "RUN", "ROOT/attributes.csv"], "cannot be read as a picture"),
        (
            ["reconstruct", "RUN", "--data", "digits"],
            "has samples of shape (1, 8, 8), the model takes (3, 16, 16)",
        ),
        (
            ["reconstruct", "RUN", "x.jpg", "--data", "folder:ROOT"],
            "give pictures or --data, not both",
        ),
        (["encode", "RUN", "--out", "codes.txt"], "end it with .npz"),
        (["outliers", "RUN", "--data", "folder:EMPTY"], "holds no pictures"),
        (
            ["outliers", "RUN", "--table", "x.png"],
            "--table x.png is not the name of a file to write",
        ),
        (["train", "--data", "folder:EMPTY"], "holds no pictures"),
        (["train", "--data", "flowers"], "data.name takes one of mnist"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    picture_run, picture_root, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"RUN": str(picture_run), "ROOT": str(picture_root), "EMPTY": str(tmp_path / "empty")}
    for key, place in places.items():
        words = [word.replace(key, place) for word in words]
    capsys.readouterr()
    assert main(["vae", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.lock"]


def test_conditions_that_teach_nothing(picture_root, tmp_path, caplog):
    mine = shutil.copytree(picture_root, tmp_path / "mine")
    table = (mine / "attributes.csv").read_text().replace(",-1,", ",1,")
    (mine / "attributes.csv").write_text(table)
    settings = load_vae_config(None, {"data.name": f"folder:{mine}"})
    assert RunData(settings.data).facts.conditions == {"Hair": HAIR}
    assert "the same Smiling" in caplog.text
    with pytest.raises(UserError, match="have the same Smiling: leave it out of"):
        RunData(DataSettings(name=f"folder:{mine}", attributes=["Smiling"]))
    (mine / "attributes.csv").unlink()
    bare = load_vae_config(
        None, {"data.name": f"folder:{mine}", "data.size": SIDE, "model.name": "mvae"}
    )
    with pytest.raises(
        UserError, match="is given attributes beside each picture, and the data has none"
    ):
        train_vae(bare, tmp_path / "run")
    with pytest.raises(UserError, match="no attribute 'Smiling': it has no attributes"):
        RunData(DataSettings(name=f"folder:{mine}", attributes=["Smiling"]))


def test_chosen_attributes_become_modalities(picture_root):
    data = RunData(DataSettings(name=f"folder:{picture_root}", attributes=["Hair"]))
    assert data.facts.conditions == {"Hair": HAIR}
    both = RunData(DataSettings(name=f"folder:{picture_root}"))
    train = both.samples("train")
    assert both.facts.conditions == {"attributes": SMILING, "Hair": HAIR}
    assert (train.conditions["Hair"].sum(1) == 1).all()
    assert torch.equal(train.conditions["Hair"][:, 1], train.factors[:, 1].float())


def test_other_pictures_at_resuming_are_said(picture_root, tmp_path, caplog):
    mine = shutil.copytree(picture_root, tmp_path / "mine")
    folder = train(tmp_path / "run", config_of(mine, "vae"))
    (mine / "img_align_celeba" / "000000.png").unlink()
    assert main(["vae", "train", "--resume", "--out", str(folder), "--epochs", "3"]) == 0
    assert "has other training pictures than when this run began" in caplog.text
    (mine / "attributes.csv").unlink()
    assert main(["vae", "train", "--resume", "--out", str(folder), "--epochs", "4"]) == 2


def test_views_are_modalities(picture_root, tmp_path):
    """The same pictures, and their negatives in a second sub-folder."""
    mine = tmp_path / "pairs"
    shutil.copytree(picture_root / "img_align_celeba", mine / "positive")
    (mine / "negative").mkdir()
    for path in (mine / "positive").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(mine / "negative" / path.name)
    shutil.copy(picture_root / "attributes.csv", mine)
    config = config_of(mine, "mopoe", epochs=12, batch_size=4, learning_rate=4e-3)
    config["data"]["views"] = ["positive", "negative"]
    folder = train(tmp_path / "run", config)
    trained = TrainedVAE.from_pretrained(folder)
    assert trained.facts.event_shape == (2, 3, SIDE, SIDE)
    test = trained.data().samples("test")
    x = test.images.float() / 255
    torch.testing.assert_close(x[:, 0] + x[:, 1], torch.ones_like(x[:, 0]))
    with torch.no_grad():
        other = trained.model.generate({"image_0": x[:, 0]}, ["image_1"])["image_1"]
    assert (other - x[:, 1]).square().mean() < 0.03  # a grey picture is .08 away
    for words in (
        ["reconstruct"],
        ["sample"],
        ["edit", "--attribute", "Smiling"],
        ["morph", "0", "1"],
    ):
        name, *rest = words
        assert main(["vae", name, str(folder), *rest, "--out", str(tmp_path / f"{name}.png")]) == 0
    outputs = ["--out", str(tmp_path / "o.png"), "--table", str(tmp_path / "o.csv")]
    assert main(["vae", "outliers", str(folder), *outputs]) == 0
    assert main(["vae", "score", str(folder), "--num_samples", "2"]) == 0
