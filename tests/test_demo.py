"""The demo at toy size, without a network: what it leaves is what its report and the README promise."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ecmvae import demo as module
from ecmvae.config import load_config
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.video import probe
from ecmvae.demo import Demo
from ecmvae.demo_command import demo
from ecmvae.errors import UserError
from ecmvae.locks import locked

DEBUG = Path(__file__).parents[1] / "configs" / "debug.yaml"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of seconds: 64 pixels, a backbone with random weights."""
    config = load_config(
        DEBUG, {"data.length": 16, "train.epochs": 1, "train.device": "cpu", "train.log_images": 0}
    )
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(replace(config, model=replace(config.model, channels=8)).to_yaml())
    return path


@pytest.fixture(scope="module")
def left(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that ran where an older one lay, on a machine without a network."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    out.mkdir()
    (out / "report.json").write_text("the older one")
    (out / "demo.lock").touch()

    def no_network(*_: object, **__: object) -> None:
        raise UserError("there is no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CollageSources, "fetch", no_network)
        demo(str(out), config=str(small), minutes=1.0, audio_minutes=0.02, clips=4)
    return out


def test_the_report_has_every_promised_number(left: Path) -> None:
    report = json.loads((left / "report.json").read_text())
    assert report["data"] == "synthetic"
    scores = ("miou", "fscore", "miou_silent", "miou_shuffled", "right_of_two")
    for found in (report, report["ms3"]):
        assert all(0 <= found[name] <= 1 for name in scores)
    assert 0 <= report["ms3"]["miou_nonempty"] <= 1
    assert report["floors"]["s4"]["all_background"]["miou"] == 0
    assert report["seconds"] >= sum(report["seconds_by_step"].values()) - 1
    assert report["config"]["data"]["name"] == "synthetic"
    assert report["config"]["train"]["max_minutes"] == 1.0


def test_short_training_is_told_with_the_minutes_that_would_do() -> None:
    assert module._more_minutes(461, 8.0) is None
    hint = module._more_minutes(92, 8.0)
    assert hint is not None
    assert "92 steps in its 8 minutes" in hint
    assert hint.endswith("--minutes 40")


def test_the_report_is_what_evaluate_says(left: Path) -> None:
    report = json.loads((left / "report.json").read_text())
    for task, told in (("s4", report), ("ms3", report["ms3"])):
        scored = json.loads((left / "scores" / task / "report.json").read_text())
        assert told["miou"] == scored["miou"]
        assert report["latent_use"][task] == scored["latent_use"]
        assert scored["latent_use"]["latents"].keys() == {"c", "s_v", "s_a"}
        assert told["miou"] - told["miou_silent"] == pytest.approx(scored["audio_gain"]["silent"])


def test_the_overlay_is_a_test_clip_with_its_sound(left: Path) -> None:
    info = probe(left / "overlay.mp4")
    assert info.frame_count >= 100
    assert len(info.audio_tracks) == 1
    assert info.duration == pytest.approx(5, abs=0.1)


def test_the_pictures_are_there(left: Path) -> None:
    with Image.open(left / "montage.png") as montage:
        assert montage.size[0] == 5 * 160
    with Image.open(left / "curves.png") as curves:
        assert curves.size[0] > 500


def test_the_older_demo_is_moved_aside(left: Path) -> None:
    assert (left.parent / "demo-001" / "report.json").read_text() == "the older one"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holiday.mp4", "holiday.mp4 is a file: name a folder"),
        ("holiday.mp4/demo", "holiday.mp4 is not a folder"),
        (
            "videos",
            r"videos is not empty and not a demo \(it has no demo.lock\): name another folder",
        ),
        ("link", "link is not empty and not a demo"),
        (".", "is not empty and not a demo"),
        ("..", "is not empty and not a demo"),
    ],
)
def test_nothing_of_the_users_is_moved(
    name: str, message: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "videos").mkdir(parents=True)
    (home / "videos" / "dog.mp4").write_text("the user's")
    (home / "holiday.mp4").write_text("the user's")
    (home / "link").symlink_to("videos")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(home)
    with pytest.raises(UserError, match=message):
        demo(name, data="synthetic", config=str(small))
    assert sorted(tmp_path.rglob("*")) == before
    assert (
        (home / "holiday.mp4").read_text()
        == (home / "link" / "dog.mp4").read_text()
        == "the user's"
    )


def test_a_demo_is_not_moved_from_under_its_user_or_another_demo(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demo"
    with (
        locked(out, "demo.lock"),
        pytest.raises(UserError, match=f"demo is in use by process {os.getpid()} on "),
    ):
        demo(str(out), data="synthetic", config=str(small))
    monkeypatch.chdir(out)
    with pytest.raises(UserError, match="is a demo that you are in"):
        demo(".", data="synthetic", config=str(small))
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_link_stays_and_the_demo_behind_it_is_moved(tmp_path: Path) -> None:
    (tmp_path / "disk" / "demo").mkdir(parents=True)
    (tmp_path / "disk" / "demo" / "demo.lock").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "demo")
    module._move_aside(tmp_path / "link")
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["demo-001"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("option", ["minutes", "audio_minutes"])
@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan")])
def test_a_time_that_is_none_is_refused_before_anything_is_fetched(
    option: str, value: float, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{option}={value} must be above 0"):
        demo(str(tmp_path / "demo"), config=str(small), **{option: value})
    assert not (tmp_path / "demo").exists()


def test_predict_finds_the_demos_model(left: Path, tmp_path: Path) -> None:
    from ecmvae.hub.find import default_model

    (tmp_path / "models.yaml").write_text("{}")
    assert default_model(packaged=tmp_path, runs=left.parent) == left / "best"


def test_collage_on_demand_does_not_fall_back(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise UserError("there is no network")

    monkeypatch.setattr(CollageSources, "fetch", no_network)
    with pytest.raises(UserError, match="no network"):
        demo(str(tmp_path / "demo"), data="collage", config=str(small))
    assert not (tmp_path / "demo").exists()


def test_one_clip_cannot_be_shuffled(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 2"):
        Demo(tmp_path / "demo", "synthetic", None, str(small), 1.0, 1.0, 1, 0)
