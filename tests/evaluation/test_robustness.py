"""Robustness against models of which is known what they hear: everything, loudness, nothing."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from collage_fixture import make_sources
from fake_segmenter import FakeSegmenter

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.evaluation.robustness import RobustnessSettings, robustness

QUIET = RobustnessSettings(progress=False)


class Listener(FakeSegmenter):
    """Marks the left half of the frame while it hears something; a deaf one always does."""

    def __init__(self, deaf=False):
        super().__init__()
        self.deaf = deaf

    def encode_audio(self, features):
        return features.mean(dim=(2, 3, 4), keepdim=False)[..., None].expand(-1, -1, 128)

    def forward(self, frames, audio, latents="sample", features=None):
        left = torch.zeros_like(frames[:, :, :1], dtype=torch.bool)
        left[..., : frames.shape[-1] // 2] = True
        heard = (audio.mean(dim=2) > -4.5)[
            :, :, None, None, None
        ] | self.deaf  # silence is log(0.01) = -4.6
        return SimpleNamespace(logits=torch.where(left & heard, 5.0, -5.0))


@pytest.fixture(scope="module")
def clips():
    return SyntheticAVS("s4", 8, 32, 3)


def test_a_model_that_hears_loudness(clips):
    report = robustness(Listener(), clips, QUIET)
    got = report.conditions
    assert set(got) == {
        "original",
        "silence",
        "noise",
        "swapped",
        "shifted",
        "offscreen",
        "noise_alone",
    }
    assert (
        got["silence"].false_masks,
        got["noise_alone"].false_masks,
        got["noise"].false_masks,
    ) == (0, 1, None)
    assert got["noise_alone"].false_positive_rate == 0.5
    assert got["silence"].false_positive_rate == 0
    assert got["silence"].rejected == 1
    assert got["silence"].audio_sensitivity == 1
    assert got["swapped"].false_positive_rate == 0.5  # any sound will do
    assert got["swapped"].audio_sensitivity == 0
    assert got["noise"].miou == pytest.approx(got["original"].miou)
    miou = got["original"].miou
    assert got["swapped"].robust_score == pytest.approx(2 * miou * 0.5 / (miou + 0.5))
    # in silence nothing is marked, and nothing is right
    assert report.audio_gain == pytest.approx(miou)
    assert got["shifted"].miou is None
    assert got["original"].false_positive_rate is None


def test_a_deaf_model(clips):
    report = robustness(Listener(deaf=True), clips, QUIET)
    assert all(scores.audio_sensitivity == 0 for scores in report.conditions.values())
    assert report.conditions["silence"].false_positive_rate == 0.5
    assert report.audio_gain == 0


def test_manifest_names_sounds_of_other_classes(clips, tmp_path):
    settings = RobustnessSettings(progress=False, snr_db=3.0)
    report = robustness(Listener(), clips, settings)
    report.write(tmp_path)
    assert json.loads((tmp_path / "robustness.json").read_text()) == report.to_dict()
    with (tmp_path / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = {clips.name(i): i for i in range(len(clips))}
    swapped = [row for row in rows if row["condition"] == "swapped"]
    assert len(swapped) == report.conditions["swapped"].clips > 0
    for row in swapped:
        mine, theirs = (set(clips.classes(places[row[key]])) for key in ("clip", "other"))
        assert not mine & theirs
    assert {row["snr_db"] for row in rows if row["condition"] in ("noise", "offscreen")} == {"3.0"}
    again = robustness(Listener(), clips, settings)
    assert again.manifest == report.manifest
    assert again.to_dict() == report.to_dict()


def test_released_folders(tmp_path):
    """S4's category stands for what is visible; MS3 names nothing, so nothing can be swapped."""
    for task in ("s4", "ms3"):
        write_miniature(tmp_path, task, {"test": 4}, source=ShapeScenes(task, 32))
    s4, ms3 = (AVSBenchDataset(tmp_path, task, "test", image_size=32) for task in ("s4", "ms3"))
    assert "swapped" in robustness(Listener(), s4, QUIET).conditions
    assert set(robustness(Listener(), ms3, QUIET).conditions) == {
        "original",
        "silence",
        "noise",
        "shifted",
        "noise_alone",
    }


def test_clips_composed_on_the_fly(tmp_path):
    clips = CollageClips(make_sources(tmp_path / "sources"), "both", "val", length=6, size=32)
    report = robustness(Listener(), clips, QUIET)
    assert report.conditions["silence"].rejected == 1
    swapped = [heard for heard in report.manifest if heard.condition == "swapped"]
    assert {heard.clip for heard in swapped} <= {clips.name(index) for index in range(6)}
    assert swapped
    others = {
        (heard.condition, heard.other)
        for heard in report.manifest
        if heard.condition in ("speech", "music")
    }
    assert others == {("speech", "speech_held_out"), ("music", "music_held_out")}
    assert report.conditions["speech"].false_masks == report.conditions["music"].false_masks == 1


def test_some_conditions_only(clips):
    report = robustness(
        Listener(), clips, RobustnessSettings(progress=False, conditions=("noise_alone",))
    )
    assert set(report.conditions) == {"original", "silence", "noise_alone"}
    alone = robustness(Listener(), clips, RobustnessSettings(progress=False)).conditions
    assert report.conditions == {name: alone[name] for name in report.conditions}
    marked = {(heard.condition, heard.false_mask) for heard in report.manifest}
    assert marked == {("original", None), ("silence", False), ("noise_alone", True)}


def test_no_clips():
    with pytest.raises(UserError, match="no clips"):
        robustness(Listener(), SyntheticAVS(length=0), QUIET)
