"""What differs.md says of a run, against changes that are made on purpose."""

from pathlib import Path

import pytest
import yaml

from ecmvae.cli import main
from ecmvae.config import Config, load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.hub.client import sha256_of
from ecmvae.training.differs import PUBLISHED, compare, differences, from_recipe, write_differences

CONFIGS = Path(__file__).parents[2] / "configs"
REPRODUCE = sorted(CONFIGS.glob("reproduce/*.yaml"))
KNOBS = by_dotted_name(Config().to_dict())


def changed(path: Path, **overrides: object) -> dict[str, tuple[str, str]]:
    config = load_config(
        path, {name.replace("__", "."): value for name, value in overrides.items()}
    )
    return {row.what: (row.here, row.there) for row in compare(config, "released").settings}


def test_every_published_statement_is_about_a_setting_and_has_a_source() -> None:
    for origin, groups in yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")).items():
        assert origin in ("released", "paper")
        for group in groups:
            assert group["source"]
            assert group.keys() <= {"source", "when", "settings", "fixed", "open"}
            assert {
                *group["when"],
                *group.get("settings", ()),
                *group.get("open", ()),
            } <= KNOBS.keys()


@pytest.mark.parametrize("path", REPRODUCE, ids=lambda path: path.stem)
def test_a_reproduction_recipe_sets_everything_as_its_authors(path: Path) -> None:
    config = load_config(path)
    released = compare(config, "released")
    assert released.known
    assert released.settings == []
    assert released.fixed
    assert released.open or config.model.name == "tpavi"
    assert compare(config, "paper").settings == []
    assert f"`configs/reproduce/{path.stem}.yaml` follows" in differences(config, [path])


def test_the_plain_recipes_differ_in_what_they_mean_to() -> None:
    """The mathematics in place of the released formulas, no drop path, and any grey that sounds."""
    assert changed(CONFIGS / "s4_pvt.yaml") == {
        "model.visual.drop_path": ("0.0", "0.1"),
        "loss.formulas": ("principled", "released"),
        "data.mask_rule": ("any", "released"),
    }
    assert changed(CONFIGS / "ms3_tpavi_resnet50.yaml") == {"data.mask_rule": ("any", "released")}


@pytest.mark.parametrize(
    ("override", "here", "there"),
    [
        ({"train__learning_rate": 2e-4}, "0.0002", "0.0001"),
        ({"train__batch_size": 8}, "8", "4"),
        ({"train__gradient_clip": 1.0}, "1.0", "0.0"),  # not in the authors' code at all
        ({"train__check_val_every_n_epochs": 2}, "2", "1"),
        ({"loss__orthogonality": 0.0}, "0.0", "0.001"),
        ({"model__visual__weights": None}, "none", "torchvision's V1"),
        (
            {"model__visual__weights": "elsewhere/resnet50-a1_in1k.pth"},
            "elsewhere/resnet50-a1_in1k.pth",
            "torchvision's V1",
        ),
        ({"model__latent__kind": "single", "loss__orthogonality": 0.001}, "single", "factorized"),
    ],
)
def test_whatever_is_changed_is_listed(override: dict[str, object], here: str, there: str) -> None:
    rows = changed(CONFIGS / "reproduce" / "ms3_resnet50.yaml", **override)
    assert rows == {next(iter(override)).replace("__", "."): (here, there)}


@pytest.mark.parametrize(
    "weights", ["timm", "weights/resnet50-19c8e357.pth", "w/resnet50-0676ba61.pth"]
)
def test_the_same_weights_under_another_name_are_no_difference(weights: str) -> None:
    path = CONFIGS / "reproduce" / "s4_resnet50.yaml"
    assert changed(path, model__visual__weights=weights, model__visual__name="resnet50") == {}


def test_what_does_not_matter_or_has_no_effect_is_left_out() -> None:
    path = CONFIGS / "reproduce" / "s4_tpavi.yaml"
    assert (
        changed(
            path, train__out="elsewhere", data__root="there", data__workers=0, model__neck="aspp"
        )
        == {}
    )


def test_a_loss_term_of_ones_own_is_listed() -> None:
    rows = changed(
        CONFIGS / "reproduce" / "s4_pvt.yaml", loss__extra={"my_package.terms:MyTerm": 0.1}
    )
    assert rows == {"loss.extra.my_package.terms:MyTerm": ("0.1", "none")}


def test_the_paper_is_held_against_any_data() -> None:
    config = load_config(CONFIGS / "collage_demo.yaml")
    assert not compare(config, "released").known
    rows = {row.what: row.there for row in compare(config, "paper").settings}
    assert rows.keys() == {"model.latent.kind", "loss.orthogonality", "loss.mutual_information"}
    page = differences(config)
    assert "Nothing was published for ecmvae with efficientnet_lite0 on collage" in page
    assert "`configs/reproduce/s4_pvt.yaml`" in page
    assert "None: it was started without a configuration file." in page


def test_avss_is_held_against_avsbenchs_script() -> None:
    assert changed(CONFIGS / "avss_tpavi.yaml") == {"model.visual.drop_path": ("0.0", "0.1")}


def test_a_recipe_is_its_first_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\n")
    files = [CONFIGS / "s4_pvt.yaml", tmp_path / "mine.yaml"]
    config = load_config(files, {"loss.kl": 0.5})
    rows = {row.what: (row.here, row.there) for row in from_recipe(config, load_config(files[0]))}
    assert rows == {"train.epochs": ("3", "15"), "loss.kl": ("0.5", "0.01")}
    assert "| `train.epochs` | 3 | 15 |" in differences(config, files)


def test_a_run_names_the_bytes_it_starts_from(tmp_path: Path) -> None:
    (tmp_path / "pvt_v2_b5.pth").write_bytes(b"weights")
    path = CONFIGS / "reproduce" / "s4_pvt.yaml"
    config = load_config(
        path, {"model.visual.weights": str(tmp_path / "pvt_v2_b5.pth"), "model.audio.weights": None}
    )
    write_differences(tmp_path, config, [path])
    page = (tmp_path / "differs.md").read_text()
    digest = sha256_of(tmp_path / "pvt_v2_b5.pth")
    assert f"| `model.visual.weights` | {tmp_path / 'pvt_v2_b5.pth'} | {digest} |" in page
    assert "| `model.audio.weights` | none |  |" in page
    write_differences(tmp_path, load_config(path), [path])
    assert "| timm's pvt_v2_b5.in1k | (by tag) |" in (tmp_path / "differs.md").read_text()


def test_the_command_writes_it_into_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first --config is the recipe; what is laid over it, and options, are differences."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(
        "train: {epochs: 1, log_images: 0, device: cpu}\ndata: {length: 8, val_length: 2, image_size: 32}\n"
    )
    recipe = str(CONFIGS / "debug.yaml")
    words = [
        "train",
        "--config",
        recipe,
        "--config",
        "small.yaml",
        "--train.batch_size=4",
        "--loss.orthogonality=0",
    ]
    assert main(words) == 0
    page = (tmp_path / "runs" / "debug-001" / "differs.md").read_text()
    assert f"| setting | here | `{recipe}` |" in page
    for row in (
        "| `train.batch_size` | 4 | 8 |",
        "| `data.length` | 8 | 64 |",
        "| `loss.orthogonality` | 0.0 | 0.001 |",
    ):
        assert row in page
    assert (
        "| `loss.orthogonality` | 0.0 | an orthogonality constraint between shared and specific |"
        in page
    )
