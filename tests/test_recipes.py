"""Recipes are found by name, wherever the user is and whether ecmvae is a clone or a wheel."""

from pathlib import Path

import pytest

from ecmvae import recipes as module
from ecmvae.config import load_config
from ecmvae.config_reader import read_layers
from ecmvae.errors import UserError
from ecmvae.recipes import about, find_config, recipes
from ecmvae.training.vae import load_vae_config

CONFIGS = Path(__file__).parents[1] / "configs"


def test_every_file_is_a_recipe_with_a_line_about_it() -> None:
    assert {CONFIGS / f"{name}.yaml" for name in recipes()} == set(CONFIGS.rglob("*.yaml"))
    assert [name for name in recipes() if not about(name).strip()] == []


@pytest.mark.parametrize(
    "name", ["s4_pvt", "s4_pvt.yaml", "configs/s4_pvt.yaml", "./configs/s4_pvt.yaml"]
)
def test_a_recipe_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIGS / "s4_pvt.yaml"
    assert load_config([name, "ablations/no_kl"]) == load_config(
        [CONFIGS / "s4_pvt.yaml", CONFIGS / "ablations/no_kl.yaml"]
    )
    assert load_vae_config("vae/beta").model.beta == 4.0


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s4_pvt").write_text("train: {epochs: 3}")
    assert load_config("s4_pvt").train.epochs == 3


def test_a_copy_finds_what_lies_beneath_it(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text((CONFIGS / "s4_pvt.yaml").read_text())
    assert read_layers(copy) == read_layers(CONFIGS / "s4_pvt.yaml")
    (tmp_path / "layers").mkdir()
    # nearer than the recipe's
    (tmp_path / "layers" / "s4.yaml").write_text("data: {image_size: 32}")
    assert load_config(copy).data.image_size == 32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s4_pv", "did you mean s4_pvt"),
        ("ablations/no_kk", "did you mean ablations/no_kl"),
        ("../configs/s4_pvt", "file not found"),
        ("zzz", "ecmvae configs list"),
    ],
)
def test_no_such_recipe(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_config(name)


def test_the_wheel_has_them_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ecmvae"
    (package / "configs" / "vae").mkdir(parents=True)
    (package / "configs" / "collage_demo.yaml").touch()
    (package / "configs" / "vae" / "mnist.yaml").touch()
    (tmp_path / "configs").mkdir()  # somebody else's, beside site-packages
    monkeypatch.setattr(module, "__file__", str(package / "recipes.py"))
    recipes.cache_clear()
    try:
        assert list(recipes()) == ["collage_demo", "vae/mnist"]
    finally:
        recipes.cache_clear()
