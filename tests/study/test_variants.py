"""Words into configurations, compared with the same settings laid over each other by `load_config`."""

from pathlib import Path

import pytest

from ecmvae.config import Config, ConfigSettings, load_config
from ecmvae.errors import UserError
from ecmvae.study.variants import read_variants

FILES = ("debug",)
BASE = load_config("debug")


def read(*words: str, settings: dict[str, str] | None = None) -> list[tuple[str, Config]]:
    config = load_config(FILES, settings)
    return [
        (each.name, each.config)
        for each in read_variants(words, config, FILES, ConfigSettings(settings or {}))
    ]


def test_recipes_settings_and_both() -> None:
    assert read(
        "ablations/no_kl", "loss.kl=0.5 model.latent.dim=8", "ablations/no_kl train.epochs=10"
    ) == [
        ("base", BASE),
        ("no_kl", load_config(["debug", "ablations/no_kl"])),
        (
            "loss.kl=0.5+model.latent.dim=8",
            load_config("debug", {"loss.kl": 0.5, "model.latent.dim": 8}),
        ),
        ("no_kl+train.epochs=10", load_config(["debug", "ablations/no_kl"], {"train.epochs": 10})),
    ]


def test_another_recipe_keeps_the_settings_of_the_command_line() -> None:
    _, (name, config) = read(
        "config=ms3_tpavi", settings={"train.epochs": "2", "data.root": "here"}
    )
    assert name == "ms3_tpavi"
    assert config == load_config("ms3_tpavi", {"train.epochs": 2, "data.root": "here"})
    assert config.data.name == "ms3"


def test_a_variant_wins_over_the_settings_that_all_share() -> None:
    _, (_, config) = read("train.epochs=7", settings={"train.epochs": "2", "loss.kl": "1e-3"})
    assert (config.train.epochs, config.loss.kl) == (7, 1e-3)


def test_a_file_of_ones_own_and_its_recipe(tmp_path: Path) -> None:
    mine = tmp_path / "my switch.yaml"
    mine.write_text("loss: {kl: 0.5}")
    base, variant = read_variants([str(mine)], BASE, FILES)
    assert variant.name == "my-switch"
    assert variant.files == ("debug", str(mine))
    assert variant.config.loss.kl == 0.5
    assert base.files == FILES


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    long = "model.latent.dim=8 loss.orthogonality=0.5 loss.mutual_information=0.5 train.epochs="
    names = [name for name, _ in read(f"{long}3", f"{long}4")]
    assert len(set(names)) == 3
    assert max(map(len, names)) == 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["loss.kll=0"],
            "variant 'loss.kll=0': unknown config key 'loss.kll': did you mean 'loss.kl'?",
        ),
        (["train.epochs=many"], "train.epochs takes a whole number, got 'many'"),
        (["model.latent.kind=sngle"], "model.latent.kind takes one of"),
        (["ablations/no_kk"], "did you mean ablations/no_kl"),
        (["config=ms3_tpavy"], "did you mean ms3_tpavi"),
        (["train.epochs=0"], "train.epochs"),
        (["train.epochs=2"], "changes nothing in this configuration: leave it out"),
        (
            ["model.window=2"],
            "changes nothing in this configuration (model.window has no effect with model.name",
        ),
        (["ablations/no_kl", "loss.kl=0"], "the variants no_kl and loss.kl=0 are the same"),
        (["loss.kl=0", "loss.kl=0"], "two variants have the name loss.kl=0"),
        (["train.seed=3"], "the study itself sets train.seed: leave it out (--seeds)"),
        (["'loss.kl=0"], "close the quotes"),
        ([""], "it is empty"),
    ],
)
def test_mistakes_name_the_variant(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        read(*words)
    assert message in str(raised.value)


def test_a_section_is_given_as_a_file() -> None:
    with pytest.raises(UserError, match="--model: give a study single settings"):
        read_variants([], BASE, FILES, ConfigSettings({"model": "x.yaml"}))
