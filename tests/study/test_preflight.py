"""What would stop a run is found before any run: names, data, weights."""

from dataclasses import replace
from pathlib import Path

import pytest

from ecmvae.config import ConfigSettings, load_config
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.errors import UserError
from ecmvae.study.preflight import check_scoring, check_variants
from ecmvae.study.variants import Variant, read_variants

FILES = ("debug",)
SETTINGS = ConfigSettings({"data.length": "4", "data.val_length": "2"})
BASE = load_config("debug", SETTINGS)


def variants(*words: str) -> list[Variant]:
    return read_variants(words, BASE, FILES, SETTINGS)


def test_what_can_be_trained_passes() -> None:
    check_variants(
        variants("ablations/no_kl", "model.fusion.kind=tpavi", "model.visual.name=pvt_v2_b0")
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.visual.name=resnet5", "resnet5"),
        ("model.audio.name=vgish", "unknown audio encoder 'vgish'"),
        ("model.fusion.kind=gates", "gates"),
        ("model.name=tpavy", "tpavy"),
        ("data.name=s5", "s5"),
        ("data.name=s4", "say where its folder lies"),
        ("data.name=s4 data.root=nowhere", "nowhere"),
        ("loss.extra={nothing.here:Term: 1}", "nothing"),
        (
            "model.visual.weights=weights/none.pth",
            "model.visual.weights=weights/none.pth: there is no such file",
        ),
        (
            "train.initial_checkpoint=runs/none",
            "train.initial_checkpoint=runs/none: there is no such file or folder",
        ),
    ],
)
def test_what_cannot_be_trained_is_named_with_its_variant(word: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        check_variants(variants("loss.kl=0", word))
    assert str(raised.value).startswith("variant ")
    assert not str(raised.value).startswith("variant loss.kl=0:")
    assert message in str(raised.value)


def test_the_clips_to_score_on_must_be_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_miniature(root, "s4", {"test": 1}, source=ShapeScenes("s4", 32), composed=True)
    found = variants("loss.kl=0")
    check_scoring(found, str(root), "test", "auto")
    with pytest.raises(UserError, match=r"scoring base on s4, split tset: .*tset"):
        check_scoring(found, str(root), "tset", "auto")
    with pytest.raises(UserError, match="holds none of"):
        check_scoring(found, str(tmp_path), "test", "auto")
    with pytest.raises(UserError, match="scoring base on ms3"):
        check_scoring(found, str(root), "test", "ms3")


def test_equal_data_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        "ecmvae.study.preflight.build_datasets", lambda config: read.append(config.data)
    )
    longer = replace(BASE, data=replace(BASE.data, length=8))
    check_variants([*variants("loss.kl=0"), Variant("longer", FILES, longer)])
    assert read == [BASE.data, longer.data]
