"""`ecmvae vae ...` on a folder of one's own pictures, through the command line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from drawn_pictures import BAR, SIDE, picture, write_pictures
from fake_hub import serving
from PIL import Image
from safetensors.torch import load_file

from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.training.vae import DataSettings, load_vae, train_vae
from ecmvae.training.vae_data import RunData, read_pictures
from ecmvae.training.vae_edit import best_log_likelihood, deviance_map, direction_of, unusualness
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.training.vae_settings import load_vae_config
from ecmvae.vae.likelihoods import BernoulliLikelihood, GaussianLikelihood
from ecmvae.vae.zoo import ModelName

HAIR, SMILING = ("Hair=blue", "Hair=red"), ("Smiling",)


def config_of(root: Path, name: str, **fit: object) -> dict[str, object]:
    model = {"name": name, "latent_dim": 4} | ({} if name == "face_vae" else {"hidden": 32})
    fit = {"epochs": 2, "batch_size": 16, "device": "cpu"} | fit
    return {"model": model, "data": {"name": f"folder:{root}", "size": SIDE}, "fit": fit}


def train(folder: Path, config: dict[str, object]) -> Path:
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    assert main(["vae", "train", "--config", str(path), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "faces")


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """A VAE that has learnt the pictures."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    return train(folder, config_of(root, "vae", epochs=100, learning_rate=5e-3))


def test_a_run_remembers_its_data_and_loads_without_it(root, tmp_path):
    mine = shutil.copytree(root, tmp_path / "mine")
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
    assert main(["vae", "score", str(folder), "--data", f"folder:{root}"]) == 0
    assert not (folder / "score.json").exists()  # of other data than the run's


def test_missing_data_is_one_line(root, tmp_path, capsys):
    mine = shutil.copytree(root, tmp_path / "mine")
    folder = train(tmp_path / "run", config_of(mine, "autoencoder"))
    shutil.rmtree(mine)
    capsys.readouterr()
    for words in (["score"], ["sample", "--out", str(tmp_path / "s.png")]):
        assert main(["vae", words[0], str(folder), *words[1:]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "mine is not a folder of pictures" in line


def test_the_path_on_the_command_line_is_taken_as_it_is(root, tmp_path, monkeypatch):
    odd = tmp_path / "a: [b] #1"
    shutil.copytree(root, odd)
    monkeypatch.chdir(tmp_path)
    words = ["--data", "folder:a: [b] #1", "--size", str(SIDE), "--epochs", "1", "--out", "run", "--device", "cpu"]
    assert main(["vae", "train", *words]) == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"]["root"] == str(odd)
    monkeypatch.chdir(root)
    assert main(["vae", "score", str(tmp_path / "run"), "--num_samples", "2"]) == 0


@pytest.mark.parametrize("name", ["autoencoder", "face_vae", "conditional_vae", "mvae", "dmvae"])
def test_every_kind_trains_and_goes_through_every_command(name, root, tmp_path, capsys):
    folder = str(train(tmp_path / "run", config_of(root, name)))
    out = lambda suffix: str(tmp_path / f"out{suffix}")  # noqa: E731
    assert main(["vae", "sample", folder, "--out", out("s.png"), "--count", "6"]) == 0
    assert main(["vae", "reconstruct", folder, "--out", out("r.png"), "--count", "3"]) == 0
    assert main(["vae", "encode", folder, "--out", out("e.npz")]) == 0
    assert main(["vae", "morph", folder, "0", "1", "--out", out("m.png"), "--steps", "3"]) == 0
    assert main(["vae", "edit", folder, "--attribute", "Smiling", "--out", out("d.png"), "--count", "2"]) == 0
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
    assert np.array_equal(codes["factors"], RunData(DataSettings(name=f"folder:{root}")).samples("test").factors)


def test_the_reconstruction_grid_shows_the_pictures_themselves(run, tmp_path, capsys):
    assert main(["vae", "reconstruct", str(run), "--out", str(tmp_path / "r.png"), "--count", "5"]) == 0
    grid = np.asarray(Image.open(tmp_path / "r.png"))
    error = float(capsys.readouterr().out.split("error ")[1].split()[0])
    trained = TrainedVAE.from_pretrained(run)
    samples = trained.data().samples("test").take(slice(0, 5))
    x, again = samples.images.float() / 255, trained.reconstruct(samples)
    assert error == pytest.approx(float((x - again).square().mean()), abs=1e-5)
    assert error < 0.02
    side, gap = 4 * SIDE, 2
    below = grid[-side:, -(5 * (side + gap) - gap) :]
    above = grid[-2 * side - gap : -side - gap, -(5 * (side + gap) - gap) :]
    for number in range(5):
        columns = slice(number * (side + gap), number * (side + gap) + side, 4)
        assert np.array_equal(above[::4, columns], samples.images[number].permute(1, 2, 0).numpy())
        shown = again[number].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(below[::4, columns] / 255, shown, atol=0.5 / 255 + 1e-6)


def test_single_pictures_take_the_place_of_data(run, root, tmp_path, capsys):
    Image.fromarray(picture(True, "red", 100)).resize((64, 48)).save(tmp_path / "mine.jpg")
    words = ["vae", "encode", str(run), "--out", str(tmp_path / "c.csv"), str(tmp_path / "mine.jpg")]
    assert main(words) == 0
    (header, row) = list(csv.reader((tmp_path / "c.csv").open()))
    assert header == ["name", "z0", "z1", "z2", "z3"]
    trained = TrainedVAE.from_pretrained(run)
    code = trained.encode(read_pictures([str(tmp_path / "mine.jpg")], trained.facts))
    np.testing.assert_allclose([float(value) for value in row[1:]], code[0], rtol=1e-5)
    first = root / "img_align_celeba" / "000007.png"
    for word in (str(first), "0", "000007.png"):  # the same picture, three times
        assert main(["vae", "morph", str(run), word, word, "--out", str(tmp_path / "m.png"), "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["vae", "morph", str(run), "0", "000007.pngg", "--out", str(tmp_path / "m.png")]) == 2
    assert "did you mean 000007.png?" in capsys.readouterr().err


def test_codes_of_a_batch_are_the_models_own(run):
    trained = TrainedVAE.from_pretrained(run)
    samples = trained.data().samples("train")
    with torch.no_grad():
        expected = trained.model.encode(samples.images.float() / 255).mean
    torch.testing.assert_close(trained.encode(samples), expected)


def test_an_edit_moves_what_the_attribute_is(run):
    """The bar in the picture grows brighter along Smiling, the band above takes another colour along Hair."""
    trained = TrainedVAE.from_pretrained(run)
    data = trained.data()
    codes, test = trained.encode(data.samples("train")), data.samples("test")
    smile, red = (direction_of(data, codes, name) for name in ("Smiling", "Hair=red"))
    has = data.samples("train").conditions["attributes"][:, 0].bool()
    torch.testing.assert_close(smile, codes[has].mean(0) - codes[~has].mean(0))
    own = trained.encode(test)
    bars = [trained.decode(own + strength * smile)[:, :, *BAR].mean() for strength in (-1.0, 0.0, 1.0)]
    assert bars[0] + 0.15 < bars[1] < bars[2] - 0.15
    bands = [trained.decode(own + strength * red)[:, 0, :4].mean() for strength in (-1.0, 1.0)]
    assert bands[0] + 0.2 < bands[1]


def test_two_attributes_make_a_grid(run, tmp_path):
    words = ["--attribute", "Smiling", "--across", "Hair=red", "--steps", "3", "--out", str(tmp_path / "g.png")]
    assert main(["vae", "edit", str(run), *words]) == 0
    side, gap = 4 * SIDE, 2
    grid = np.asarray(Image.open(tmp_path / "g.png"))[-3 * side - 2 * gap :]
    trained = TrainedVAE.from_pretrained(run)
    data = trained.data()
    codes, first = trained.encode(data.samples("train")), data.samples("test").take([0])
    smile, red = (direction_of(data, codes, name) for name in ("Smiling", "Hair=red"))
    corner = trained.decode(trained.encode(first) + 2 * smile - 2 * red)[0].permute(1, 2, 0).numpy()
    left = grid[-side::4]
    start = next(
        x for x in range(left.shape[1]) if np.allclose(left[:, x : x + side : 4][0] / 255, corner[0], atol=0.01)
    )
    np.testing.assert_allclose(left[:, start : start + side : 4] / 255, corner, atol=0.5 / 255 + 1e-6)


def test_the_odd_picture_comes_first_and_the_map_shows_where(run, root, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    for number in range(6):
        pixels = picture(number % 2 == 0, "red", 100)
        if number == 4:
            pixels[6:9, 1:3] = (0, 255, 0)
        Image.fromarray(pixels).save(odd / f"{number}.png")
    words = ["--data", f"folder:{odd}", "--split", "all", "--count", "6"]  # wider than the title
    outputs = ["--out", str(tmp_path / "o.png"), "--table", str(tmp_path / "o.csv")]
    assert main(["vae", "outliers", str(run), *words, *outputs]) == 0
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert rows[0]["name"] == "4.png"
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [float(row["share_of_training_below"]) > 0.95 for row in rows[:2]] == [True, False]
    assert main(["vae", "outliers", str(run), *words, *outputs, "--by", "likelihood"]) == 0
    by_likelihood = {row["name"]: row for row in csv.DictReader((tmp_path / "o.csv").open())}
    for row in rows:  # the same numbers in another order
        assert by_likelihood[row["name"]]["negative_log_likelihood"] == row["negative_log_likelihood"]
    side, gap = 4 * SIDE, 2
    grid = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    where = grid[-side::4, -(6 * (side + gap) - gap) :][:, :side:4].sum(-1)  # white is nothing, black is much
    assert where[6:9, 1:3].mean() + 200 < np.delete(where, (6, 7, 8), axis=0).mean()


def test_scores_of_outliers_are_the_bound(run):
    trained = TrainedVAE.from_pretrained(run)
    test = trained.data().samples("test")
    x = test.images.float() / 255
    torch.manual_seed(5)
    scores = unusualness(trained, test, 20)
    torch.manual_seed(5)
    with torch.no_grad():
        torch.testing.assert_close(scores, -trained.model.log_likelihood(x, num_samples=20))


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), GaussianLikelihood(0.3)])
def test_the_map_adds_up_to_the_difference_of_log_likelihoods(likelihood):
    x, parameters = torch.rand(3, 1, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    perfect = torch.logit(x) if isinstance(likelihood, BernoulliLikelihood) else x
    values = deviance_map(likelihood, likelihood.mean(parameters), x)
    assert (values >= -1e-12).all()
    best = likelihood.log_prob(perfect, x)
    torch.testing.assert_close(values.flatten(1).sum(1), best - likelihood.log_prob(parameters, x))
    torch.testing.assert_close(best_log_likelihood(likelihood, x), best)


def test_score_knows_the_factors(run, tmp_path, capsys):
    data = f"folder:{write_pictures(tmp_path / 'more', 320, seed=3)}"
    words = ["--metrics", "bounds,disentanglement", "--num_samples", "3", "--data", data]
    assert main(["vae", "score", str(run), *words]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["disentanglement"]["factors"] == "Smiling, Hair"
    assert numbers["disentanglement"]["dci_informativeness"] > 0.9  # the codes know both
    assert 0 <= numbers["disentanglement"]["mig"] <= 1
    assert numbers["negative_iwae_3"] <= numbers["negative_elbo"]
    assert main(["vae", "score", str(run), "--metrics", "coherence"]) == 2
    assert main(["vae", "score", str(run), "--metrics", "fid"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "coherence does not apply to vae" in first
    assert "unknown metric 'fid': choose from bounds, losses" in second


def test_bounds_in_parts_are_the_bounds(run, monkeypatch):
    from ecmvae.training import vae_scores
    from ecmvae.vae.metrics import bound_report

    whole = vae_scores.score_vae(run, num_samples=200, metrics=["bounds"])
    monkeypatch.setattr(vae_scores, "CHUNK", 3)
    parts = vae_scores.score_vae(run, num_samples=200, metrics=["bounds"])
    x = TrainedVAE.from_pretrained(run).data().samples("test").images.float() / 255
    expected = bound_report(TrainedVAE.from_pretrained(run).model, x, num_samples=200)
    for name, value in expected.items():
        assert parts[name] == pytest.approx(value, rel=0.01)
        assert whole[name] == pytest.approx(value, rel=0.01)
    assert sum(parts["kl_per_dimension"]) == pytest.approx(expected["kl"], rel=1e-3)


def test_compare_puts_runs_side_by_side(run, root, tmp_path, capsys):
    other = train(tmp_path / "other", config_of(root, "face_vae"))
    capsys.readouterr()
    out = tmp_path / "c.json"
    assert main(["vae", "compare", str(run), str(other), "--num_samples", "2", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("model ") and "vae" in line and "face_vae" in line for line in lines)
    assert lines[-1].startswith("note: the models have different likelihoods")
    numbers = json.loads(out.read_text())
    assert set(numbers["runs"]) == {str(run), str(other)}
    alone = json.loads((run / "score.json").read_text())
    assert numbers["runs"][str(run)]["negative_elbo"] == alone["negative_elbo"]
    assert numbers["runs"][str(run)]["epochs"] == 100
    assert main(["vae", "compare", str(run), str(run)]) == 2
    assert "at least two different runs" in capsys.readouterr().err


def test_saved_pushed_and_loaded(run, tmp_path, monkeypatch):
    trained = TrainedVAE.from_pretrained(run)
    saved = trained.save_pretrained(tmp_path / "mine", half=True)
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        ["README.md", "config.yaml", "metadata.json", "model.safetensors"]
    )
    assert {each.dtype for each in load_file(saved / "model.safetensors").values()} == {torch.float16}
    text = "".join((saved / name).read_text() for name in ("README.md", "config.yaml", "metadata.json"))
    assert str(Path(trained.config.data.root).parent) not in text  # no path of this machine
    again = TrainedVAE.from_pretrained(saved)
    samples = trained.data().samples("test")
    torch.testing.assert_close(again.reconstruct(samples), trained.reconstruct(samples), atol=0.01, rtol=0)
    assert main(["vae", "sample", str(saved), "--out", str(tmp_path / "s.png"), "--count", "3"]) == 0
    with serving(monkeypatch, tmp_path / "cache") as hub:
        trained.push_to_hub("me/vae")
        assert set(hub.files["me/vae"]) == {"README.md", "config.yaml", "metadata.json", "model.safetensors"}
        fetched = TrainedVAE.from_pretrained("me/vae")
        assert torch.equal(fetched.reconstruct(samples), trained.reconstruct(samples))
        assert main(["vae", "sample", "hf://me/vae", "--out", str(tmp_path / "h.png"), "--count", "3"]) == 0


def test_a_foreign_folder_runs_no_code_and_takes_no_memory(run, tmp_path, capsys):
    def altered(**model: object) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in ("metadata.json", "model.safetensors"):
            shutil.copy(run / name, folder)
        settings = yaml.safe_load((run / "config.yaml").read_text())
        settings["model"] |= model
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        return str(folder)

    huge, code = altered(latent_dim=65536, hidden=65536), altered(prior="antigravity:Prior")
    broken = altered()
    (Path(broken) / "metadata.json").write_text('{"event_shape": [3, 100000, 100000], "conditions": {}}')
    for folder in (huge, code, broken):
        assert main(["vae", "sample", folder, "--out", str(tmp_path / "s.png")]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "is not of the model in" in first
    assert "names code by import path (antigravity:Prior): pass trust_code=True / --trust_code" in second
    assert "metadata.json is not that of a model" in third


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
        (["edit", "RUN", "--attribute", "Smilling"], "has no attribute 'Smilling': did you mean Smiling?"),
        (["edit", "RUN"], "give --attribute NAME"),
        (["edit", "RUN", "--attribute", "Hair=green"], "did you mean Hair=red?"),
        (["reconstruct", "RUN", "none.jpg"], "none.jpg: no such file"),
        (["reconstruct", "RUN", "ROOT/attributes.csv"], "cannot be read as a picture"),
        (["reconstruct", "RUN", "--data", "digits"], "has samples of shape (1, 8, 8), the model takes (3, 16, 16)"),
        (["reconstruct", "RUN", "x.jpg", "--data", "folder:ROOT"], "give pictures or --data, not both"),
        (["encode", "RUN", "--out", "codes.txt"], "end it with .npz"),
        (["outliers", "RUN", "--data", "folder:EMPTY"], "holds no pictures"),
        (["outliers", "RUN", "--table", "x.png"], "--table x.png is not the name of a file to write"),
        (["train", "--data", "folder:EMPTY"], "holds no pictures"),
        (["train", "--data", "flowers"], "data.name takes one of mnist"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, root, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"RUN": str(run), "ROOT": str(root), "EMPTY": str(tmp_path / "empty")}
    for key, place in places.items():
        words = [word.replace(key, place) for word in words]
    capsys.readouterr()
    assert main(["vae", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.lock"]


def test_conditions_that_teach_nothing(root, tmp_path, caplog):
    mine = shutil.copytree(root, tmp_path / "mine")
    table = (mine / "attributes.csv").read_text().replace(",-1,", ",1,")
    (mine / "attributes.csv").write_text(table)
    settings = load_vae_config(None, {"data.name": f"folder:{mine}"})
    assert RunData(settings.data).facts.conditions == {"Hair": HAIR}
    assert "the same Smiling" in caplog.text
    with pytest.raises(UserError, match="have the same Smiling: leave it out of"):
        RunData(DataSettings(name=f"folder:{mine}", attributes=["Smiling"]))
    (mine / "attributes.csv").unlink()
    bare = load_vae_config(None, {"data.name": f"folder:{mine}", "data.size": SIDE, "model.name": "mvae"})
    with pytest.raises(UserError, match="is given attributes beside each picture, and the data has none"):
        train_vae(bare, tmp_path / "run")
    with pytest.raises(UserError, match="no attribute 'Smiling': it has no attributes"):
        RunData(DataSettings(name=f"folder:{mine}", attributes=["Smiling"]))


def test_chosen_attributes_become_modalities(root):
    data = RunData(DataSettings(name=f"folder:{root}", attributes=["Hair"]))
    assert data.facts.conditions == {"Hair": HAIR}
    both = RunData(DataSettings(name=f"folder:{root}"))
    train = both.samples("train")
    assert both.facts.conditions == {"attributes": SMILING, "Hair": HAIR}
    assert (train.conditions["Hair"].sum(1) == 1).all()
    assert torch.equal(train.conditions["Hair"][:, 1], train.factors[:, 1].float())


def test_other_pictures_at_resuming_are_said(root, tmp_path, caplog):
    mine = shutil.copytree(root, tmp_path / "mine")
    folder = train(tmp_path / "run", config_of(mine, "vae"))
    (mine / "img_align_celeba" / "000000.png").unlink()
    assert main(["vae", "train", "--resume", "--out", str(folder), "--epochs", "3"]) == 0
    assert "has other training pictures than when this run began" in caplog.text
    (mine / "attributes.csv").unlink()
    assert main(["vae", "train", "--resume", "--out", str(folder), "--epochs", "4"]) == 2


@pytest.mark.parametrize("name", ModelName.__args__)
def test_shapes_are_checked_without_memory_for_every_model(name):
    """Loading compares a file with a model that has no memory yet: every model can be built that way."""
    from ecmvae.vae.zoo import ModelSettings, build_vae

    shape = (1, 32, 32) if name.startswith("keras") else (3, 32, 32)
    with torch.device("meta"):
        built = build_vae(ModelSettings(name=name, latent_dim=2), shape)
    real = build_vae(ModelSettings(name=name, latent_dim=2), shape)
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in real.state_dict().items()}


def test_views_are_modalities(root, tmp_path):
    """The same pictures, and their negatives in a second sub-folder."""
    mine = tmp_path / "pairs"
    shutil.copytree(root / "img_align_celeba", mine / "positive")
    (mine / "negative").mkdir()
    for path in (mine / "positive").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(mine / "negative" / path.name)
    shutil.copy(root / "attributes.csv", mine)
    config = config_of(mine, "mopoe", epochs=60, learning_rate=5e-3)
    config["data"]["views"] = ["positive", "negative"]
    folder = train(tmp_path / "run", config)
    trained = TrainedVAE.from_pretrained(folder)
    assert trained.facts.event_shape == (2, 3, SIDE, SIDE)
    test = trained.data().samples("test")
    x = test.images.float() / 255
    torch.testing.assert_close(x[:, 0] + x[:, 1], torch.ones_like(x[:, 0]))
    with torch.no_grad():
        other = trained.model.generate({"image_0": x[:, 0]}, ["image_1"])["image_1"]
    assert (other - x[:, 1]).square().mean() < 0.02  # a grey picture is .08 away
    for words in (["reconstruct"], ["sample"], ["edit", "--attribute", "Smiling"], ["morph", "0", "1"]):
        name, *rest = words
        assert main(["vae", name, str(folder), *rest, "--out", str(tmp_path / f"{name}.png")]) == 0
    outputs = ["--out", str(tmp_path / "o.png"), "--table", str(tmp_path / "o.csv")]
    assert main(["vae", "outliers", str(folder), *outputs]) == 0
    assert main(["vae", "score", str(folder), "--num_samples", "2"]) == 0
