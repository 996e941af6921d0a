import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ecmvae.config import Config, config_from_dict, load_config
from ecmvae.errors import UserError


def test_later_files_and_overrides_win_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "model: {channels: 64, latent: {dim: 8}}\ntrain: {epochs: 3}\n"
    )
    (tmp_path / "b.yaml").write_text("model: {latent: {kind: single}}\n")
    config = load_config(
        [tmp_path / "a.yaml", tmp_path / "b.yaml"],
        {"train.epochs": 5, "train.learning_rate": "2e-3"},
    )
    assert (config.model.channels, config.model.latent.dim, config.model.latent.kind) == (
        64,
        8,
        "single",
    )
    assert (config.train.epochs, config.train.learning_rate) == (5, 2e-3)


def test_yaml_round_trip_is_exact() -> None:
    config = config_from_dict(
        {"data": {"hop_seconds": 1}, "train": {"max_minutes": 7.5}, "loss": {"kl": "1e-4"}}
    )
    assert config_from_dict(yaml.safe_load(config.to_yaml())) == config
    assert config.data.hop_seconds == 1.0
    assert config.loss.kl == 1e-4


def test_loss_keys_of_models_saved_earlier_still_load(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(
        "loss: {semantic: 0.5, semantic_distance: cosine, match: 0.2}\n"
    )
    (tmp_path / "new.yaml").write_text("loss: {audio_visual_matching: 0.25}\n")
    config = load_config([tmp_path / "old.yaml", tmp_path / "new.yaml"])
    assert (config.loss.audio_visual_matching, config.loss.match) == (0.25, 0.2)
    assert config.loss.audio_visual_matching_distance == "cosine"
    over = load_config(tmp_path / "new.yaml", {"loss.semantic": 0.75})
    assert (
        over.loss.audio_visual_matching
        == config_from_dict({"loss": {"semantic": 0.75}}).loss.audio_visual_matching
    )


def test_weights_of_further_loss_terms_survive_a_round_trip() -> None:
    config = config_from_dict(
        {"loss": {"extra": {"my_package.terms:Smoothness": 1, "other": "1e-3"}}}
    )
    assert config.loss.extra == {"my_package.terms:Smoothness": 1.0, "other": 1e-3}
    assert config_from_dict(yaml.safe_load(config.to_yaml())) == config
    assert hash(config) == hash(config_from_dict({}))
    with pytest.raises(UserError, match=r"config: loss\.extra takes a number, got 'much'"):
        config_from_dict({"loss": {"extra": {"a": "much"}}})


@pytest.mark.parametrize(
    ("key", "value", "inside"),
    [
        ("data.workers", -3, 0),
        ("data.workers", 100_000, 256),
        ("data.hop_seconds", 1e-9, 0.01),
        ("data.length", 10**10, 10**7),
        ("data.image_size", 3_200_000, 4096),
        ("data.num_frames", 10**8, 1000),
        ("model.channels", 10**8, 4096),
        ("model.latent.dim", 10**9, 4096),
        ("train.seed", -5, 0),
        ("train.seed", 2**70, 2**32 - 1),
        ("train.learning_rate", ".inf", 1.0),
        ("train.learning_rate", ".nan", 1.0),
    ],
)
def test_sizes_out_of_range_are_named(key: str, value: object, inside: object) -> None:
    with pytest.raises(
        UserError, match=rf"^{key}\b.* must be (from .* to .*, got|a finite number above 0)"
    ) as raised:
        load_config(overrides={key: value})
    assert "\n" not in str(raised.value)
    load_config(overrides={key: inside})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "unknown config key 'modle': did you mean 'model'?"),
        (
            {"model": {"latnt": {}}},
            "unknown config key 'model.latnt': did you mean 'model.latent'?",
        ),
        (
            {"model": {"latent": {"kind": "factorised"}}},
            "config: model.latent.kind takes one of 'none', 'single', 'factorized', 'agreement', got 'factorised'",
        ),
        ({"model": 3}, "config key model must hold a mapping"),
        ({"data": {"image_size": 100}}, "multiple of 32"),
        ({"loss": {"kl": -1}}, "loss.kl=-1.0 must not be negative"),
        ({"train": {"cache_features": True}}, "needs model.visual.frozen"),
    ],
)
def test_a_mistake_is_named_in_one_line(values: dict, message: str) -> None:
    with pytest.raises(UserError) as raised:
        config_from_dict(values)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"zzz": 3}}, "unknown config key 'model.zzz': choose from name, visual"),
        (
            {"model": {"channels": "wide"}},
            "config: model.channels takes a whole number, got 'wide'",
        ),
        ({"model": {"channels": True}}, "takes a whole number, got 'True'"),
        ({"model": {"channels": None}}, "config key model.channels needs a value"),
        ({"loss": {"kl": "fast"}}, "config: loss.kl takes a number, got 'fast'"),
        ({"data": {"root": 3}}, "config: data.root takes text, got '3'"),
        ({"model": {"visual": {"frozen": 1}}}, "takes true or false, got '1'"),
    ],
)
def test_a_value_of_the_wrong_type_says_what_is_expected(values: dict, message: str) -> None:
    with pytest.raises(UserError) as raised:
        config_from_dict(values)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_built_from_a_dictionary_leaves_it_alone() -> None:
    values = {"loss": {"kl": "1e-4", "extra": {"a": 1}}}
    config_from_dict(values)
    assert values == {"loss": {"kl": "1e-4", "extra": {"a": 1}}}
    assert isinstance(values["loss"]["extra"]["a"], int)


def test_a_file_lies_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "one.yaml").write_text(
        "model: {channels: 64, latent: {dim: 8}}\ntrain: {epochs: 3}\n"
    )
    (tmp_path / "layers" / "two.yaml").write_text(
        "base: one.yaml\ntrain: {epochs: 4, batch_size: 2}\n"
    )
    (tmp_path / "top.yaml").write_text(
        "base: [layers/one.yaml, layers/two.yaml]\ntrain: {batch_size: 1}\n"
    )
    config = load_config(tmp_path / "top.yaml")
    assert (config.model.channels, config.model.latent.dim) == (64, 8)
    assert (config.train.epochs, config.train.batch_size) == (4, 1)
    (tmp_path / "layers" / "one.yaml").write_text("base: two.yaml\n")
    with pytest.raises(UserError, match="is its own base"):
        load_config(tmp_path / "top.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "empty.yaml") == Config()
    with pytest.raises(UserError, match="file not found"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: }")
    with pytest.raises(UserError, match="is not valid YAML") as raised:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(raised.value)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    for unreadable in (tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(UserError, match="cannot be read"):
            load_config(unreadable)


def test_every_knob_is_documented() -> None:
    """An attribute docstring follows every field: it is what --help shows."""
    import ast

    import ecmvae.config

    tree = ast.parse(Path(ecmvae.config.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in ("Config", "ModelConfig"):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), (
                        f"{node.name}.{ast.unparse(field.target)} has no docstring"
                    )
    assert all(
        dataclasses.is_dataclass(field.default_factory) for field in dataclasses.fields(Config)
    )


def test_config_imports_nothing_heavy() -> None:
    code = "import sys, ecmvae.config; print(sorted(m for m in ('torch', 'numpy', 'timm', 'av') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
