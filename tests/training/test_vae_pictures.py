"""What `ecmvae vae reconstruct | encode | morph | edit | outliers` write is what the model says."""

import csv

import numpy as np
import pytest
import torch
from drawn_pictures import BAR, SIDE, config_of, picture, train
from PIL import Image

from ecmvae.cli import main
from ecmvae.training.vae_data import read_pictures
from ecmvae.training.vae_edit import best_log_likelihood, deviance_map, direction_of, unusualness
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.vae.likelihoods import BernoulliLikelihood, GaussianLikelihood


def test_the_reconstruction_grid_shows_the_pictures_themselves(picture_run, tmp_path, capsys):
    assert (
        main(
            [
                "vae",
                "reconstruct",
                str(picture_run),
                "--out",
                str(tmp_path / "r.png"),
                "--count",
                "5",
            ]
        )
        == 0
    )
    grid = np.asarray(Image.open(tmp_path / "r.png"))
    error = float(capsys.readouterr().out.split("error ")[1].split()[0])
    trained = TrainedVAE.from_pretrained(picture_run)
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


def test_single_pictures_take_the_place_of_data(picture_run, picture_root, tmp_path, capsys):
    Image.fromarray(picture(True, "red", 100)).resize((64, 48)).save(tmp_path / "mine.jpg")
    words = [
        "vae",
        "encode",
        str(picture_run),
        "--out",
        str(tmp_path / "c.csv"),
        str(tmp_path / "mine.jpg"),
    ]
    assert main(words) == 0
    (header, row) = list(csv.reader((tmp_path / "c.csv").open()))
    assert header == ["name", "z0", "z1", "z2", "z3"]
    trained = TrainedVAE.from_pretrained(picture_run)
    code = trained.encode(read_pictures([str(tmp_path / "mine.jpg")], trained.facts))
    np.testing.assert_allclose([float(value) for value in row[1:]], code[0], rtol=1e-5)
    first = picture_root / "img_align_celeba" / "000007.png"
    for word in (str(first), "0", "000007.png"):  # the same picture, three times
        assert (
            main(
                [
                    "vae",
                    "morph",
                    str(picture_run),
                    word,
                    word,
                    "--out",
                    str(tmp_path / "m.png"),
                    "--steps",
                    "2",
                ]
            )
            == 0
        )
    capsys.readouterr()
    assert (
        main(
            ["vae", "morph", str(picture_run), "0", "000007.pngg", "--out", str(tmp_path / "m.png")]
        )
        == 2
    )
    assert "did you mean 000007.png?" in capsys.readouterr().err


def test_codes_of_a_batch_are_the_models_own(picture_run):
    trained = TrainedVAE.from_pretrained(picture_run)
    samples = trained.data().samples("train")
    with torch.no_grad():
        expected = trained.model.encode(samples.images.float() / 255).mean
    torch.testing.assert_close(trained.encode(samples), expected)


def test_an_edit_moves_what_the_attribute_is(picture_run):
    """The bar in the picture grows brighter along Smiling, the band above takes another colour along Hair."""
    trained = TrainedVAE.from_pretrained(picture_run)
    data = trained.data()
    codes, test = trained.encode(data.samples("train")), data.samples("test")
    smile, red = (direction_of(data, codes, name) for name in ("Smiling", "Hair=red"))
    has = data.samples("train").conditions["attributes"][:, 0].bool()
    torch.testing.assert_close(smile, codes[has].mean(0) - codes[~has].mean(0))
    own = trained.encode(test)
    bars = [
        trained.decode(own + strength * smile)[:, :, *BAR].mean() for strength in (-1.0, 0.0, 1.0)
    ]
    assert bars[0] + 0.15 < bars[1] < bars[2] - 0.15
    bands = [trained.decode(own + strength * red)[:, 0, :4].mean() for strength in (-1.0, 1.0)]
    assert bands[0] + 0.2 < bands[1]


def test_two_attributes_make_a_grid(picture_run, tmp_path):
    words = [
        "--attribute",
        "Smiling",
        "--across",
        "Hair=red",
        "--steps",
        "3",
        "--out",
        str(tmp_path / "g.png"),
    ]
    assert main(["vae", "edit", str(picture_run), *words]) == 0
    side, gap = 4 * SIDE, 2
    grid = np.asarray(Image.open(tmp_path / "g.png"))[-3 * side - 2 * gap :]
    trained = TrainedVAE.from_pretrained(picture_run)
    data = trained.data()
    codes, first = trained.encode(data.samples("train")), data.samples("test").take([0])
    smile, red = (direction_of(data, codes, name) for name in ("Smiling", "Hair=red"))
    corner = trained.decode(trained.encode(first) + 2 * smile - 2 * red)[0].permute(1, 2, 0).numpy()
    left = grid[-side::4]
    start = next(
        x
        for x in range(left.shape[1])
        if np.allclose(left[:, x : x + side : 4][0] / 255, corner[0], atol=0.01)
    )
    np.testing.assert_allclose(
        left[:, start : start + side : 4] / 255, corner, atol=0.5 / 255 + 1e-6
    )


def test_the_odd_picture_comes_first_and_the_map_shows_where(picture_run, picture_root, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    for number in range(6):
        pixels = picture(number % 2 == 0, "red", 100)
        if number == 4:
            pixels[6:9, 1:3] = (0, 255, 0)
        Image.fromarray(pixels).save(odd / f"{number}.png")
    words = ["--data", f"folder:{odd}", "--split", "all", "--count", "6"]  # wider than the title
    outputs = ["--out", str(tmp_path / "o.png"), "--table", str(tmp_path / "o.csv")]
    assert main(["vae", "outliers", str(picture_run), *words, *outputs]) == 0
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert rows[0]["name"] == "4.png"
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [float(row["share_of_training_below"]) > 0.95 for row in rows[:2]] == [True, False]
    assert main(["vae", "outliers", str(picture_run), *words, *outputs, "--by", "likelihood"]) == 0
    by_likelihood = {row["name"]: row for row in csv.DictReader((tmp_path / "o.csv").open())}
    for row in rows:  # the same numbers in another order
        assert (
            by_likelihood[row["name"]]["negative_log_likelihood"] == row["negative_log_likelihood"]
        )
    side, gap = 4 * SIDE, 2
    grid = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    # white is nothing, black is much
    where = grid[-side::4, -(6 * (side + gap) - gap) :][:, :side:4].sum(-1)
    assert where[6:9, 1:3].mean() + 200 < np.delete(where, (6, 7, 8), axis=0).mean()


def test_scores_of_outliers_are_the_bound(picture_run):
    trained = TrainedVAE.from_pretrained(picture_run)
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


def test_a_model_without_a_density_is_one_line(picture_root, tmp_path, capsys):
    folder = train(tmp_path / "run", config_of(picture_root, "categorical_vae", epochs=1))
    outputs = ["--out", str(tmp_path / "o.png"), "--table", str(tmp_path / "o.csv")]
    capsys.readouterr()
    assert main(["vae", "outliers", str(folder), *outputs]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "categorical_vae gives no log-likelihoods" in line
    assert not (tmp_path / "o.csv").exists()
