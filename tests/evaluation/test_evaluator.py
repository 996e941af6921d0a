"""The evaluator against models whose answers are known: one that knows, one that only sees, one that draws."""

import json
from types import SimpleNamespace

import pytest
import torch
from fake_segmenter import FakeSegmenter
from prepared import prepared
from rich.console import Console
from torch.utils.data import DataLoader

from ecmvae.audio.conditions import derangement
from ecmvae.audio.vggish import VGGishSmall
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.models import ECMVAE
from ecmvae.types import AVBatch
from ecmvae.visual.backbone import VisualBackbone

QUIET = EvaluateSettings(progress=False)
CLIPS = 9


class KnowingModel(FakeSegmenter):
    """Marks the object whose sound it is given, from a table of what every clip looks like.

    Its "embedding" of a sound is a fingerprint by which it finds the clip that the sound belongs to, and so the class
    that sounds in it. It marks the objects of that class in the picture it sees; for silence it marks nothing.
    """

    def __init__(self, clips, noise=0.0):
        super().__init__()
        self.noise = noise
        self.clips = [prepared(clips[i]) for i in range(len(clips))]
        self.seen = torch.stack([clip.frames for clip in self.clips]).flatten(1)
        self.heard = torch.stack([clip.audio for clip in self.clips]).flatten(1)
        self.classes = [clips.classes(i) for i in range(len(clips))]

    def encode_audio(self, features):
        return torch.nn.functional.pad(features.flatten(2)[..., :64], (0, 64))

    def forward(self, frames, audio, latents="sample", features=None):
        assert features is None or features[0] is frames
        logits = []
        for picture, sound in zip(frames.flatten(1), audio, strict=True):
            where = int((self.seen - picture).norm(dim=1).argmin())
            whose = int((self.fingerprints() - sound.flatten()).norm(dim=1).argmin())
            clip = self.clips[where]
            marked = torch.zeros_like(clip.objects, dtype=torch.bool)
            if (self.fingerprints()[whose] - sound.flatten()).norm() < 1e-3:
                for frame, active in enumerate(self.clips[whose].sounding):
                    names = {
                        name
                        for name, on in zip(self.classes[whose], active.tolist(), strict=True)
                        if on
                    }
                    for number, name in enumerate(self.classes[where], start=1):
                        marked[frame] |= (clip.objects[frame] == number) & (name in names)
            answer = marked.float() * 12 - 6
            if latents == "sample":
                answer = answer + self.noise * torch.randn(answer.shape)
            logits.append(answer.unsqueeze(1))
        return SimpleNamespace(logits=torch.stack(logits))

    def fingerprints(self):
        return self.encode_audio(self.heard.reshape(len(self.clips), 5, 1, 96, 64)).flatten(1)


@pytest.fixture(scope="module")
def clips():
    return SyntheticAVS("s4", CLIPS, 32, 5)


@pytest.fixture(scope="module")
def knowing(clips):
    return KnowingModel(clips)


@pytest.fixture(scope="module")
def report(knowing, clips):
    return evaluate(knowing, clips, QUIET)


def test_a_model_that_knows_scores_one(report):
    real = report.scores["real"]
    assert real.per_clip == pytest.approx((1, 1))
    assert real.avsbench == pytest.approx((1, 1))
    assert real.dataset == pytest.approx((1, 1, 1))
    assert real.right_of_two == 1
    assert real.miou_nonempty == pytest.approx(1)


def test_sound_matters(report, knowing, clips):
    """Silence marks nothing; a foreign sound is right only where its class happens to sound here too."""
    assert report.scores["silent"].per_clip.miou == 0
    assert report.audio_gain["silent"] == pytest.approx(1)
    order = derangement(CLIPS, 0)
    same = [clips[i].category == clips[order[i]].category for i in range(CLIPS)]
    assert report.scores["shuffled"].per_clip.miou == pytest.approx(sum(same) / CLIPS, abs=1e-6)
    assert report.heard_instead == [clips[i].name for i in order]


def test_floors(report, clips):
    every = AVBatch.collate([clips[i] for i in range(CLIPS)])
    union = (every.objects > 0).flatten(0, 1)
    masks = every.masks.flatten(0, 2)
    expected = (masks.flatten(1).sum(1) / union.flatten(1).sum(1)).mean().item()
    assert report.floors["all_objects"].per_clip.miou == pytest.approx(expected, abs=1e-5)
    assert report.floors["all_foreground"].per_clip.miou == pytest.approx(
        masks.mean().item(), abs=1e-6
    )
    assert report.floors["all_background"].per_clip.miou == 0
    assert 0 < report.floors["random_object"].per_clip.miou < 1
    assert all(floor.right_of_two is None for floor in report.floors.values())


def test_random_object_is_whole_objects_and_does_not_depend_on_batching(knowing, clips, report):
    ninth = report.floors["random_object"].per_clip.miou * CLIPS
    assert ninth == pytest.approx(round(ninth), abs=1e-4)  # each clip is all right or all wrong
    again = evaluate(knowing, clips, EvaluateSettings(progress=False, batch_size=2))
    assert again.floors["random_object"] == report.floors["random_object"]
    assert again.scores == report.scores


def test_loader_is_its_data_set(knowing, clips, report):
    loader = DataLoader(clips, batch_size=3, shuffle=True, collate_fn=AVBatch.collate)
    assert evaluate(knowing, loader, QUIET).scores == report.scores


def test_visual_only_model_is_a_floor(knowing, clips):
    floors = evaluate(knowing, clips, QUIET, visual_only=knowing).floors
    assert floors["visual_only"].per_clip.miou == 0


def test_samples(clips):
    noisy = KnowingModel(clips, noise=8.0)
    mean = evaluate(noisy, clips, QUIET)
    one, many = (
        evaluate(
            noisy,
            clips,
            EvaluateSettings(progress=False, latents="sample", samples=k, sounds=("real",)),
        )
        for k in (1, 8)
    )
    assert mean.miou == pytest.approx(1)
    assert one.miou < many.miou < mean.miou  # the mean over draws is better than a draw
    assert one.uncertainty.miou_spread is None
    assert 0 < many.uncertainty.miou_spread < 0.1
    assert mean.uncertainty.calibration_error < 0.01  # it says 0.9975 where it is right
    assert one.uncertainty.calibration_error > 0.05  # it is sure of its noise
    assert many.uncertainty.entropy > one.uncertainty.entropy > mean.uncertainty.entropy
    assert mean.uncertainty.risk_coverage_area == pytest.approx(0, abs=1e-6)
    assert (
        evaluate(noisy, clips, EvaluateSettings(progress=False, latents="sample", sounds=("real",)))
        != mean
    )


def test_categories_and_rows_agree_with_the_total(report):
    clips = sum(row.clips for row in report.categories.values())
    assert clips == CLIPS
    rows = report.clips["shuffled"]
    assert sum(row.miou for row in rows) / CLIPS == pytest.approx(
        report.scores["shuffled"].per_clip.miou
    )


def test_report_files(report, tmp_path):
    folder = report.write(tmp_path / "out")
    read = json.loads((folder / "report.json").read_text())
    assert read["scores"]["real"]["avsbench"] == {
        "miou": pytest.approx(1),
        "fscore": pytest.approx(1),
    }
    assert read["about"]["batch_clips"] == 4
    assert read["about"]["clips"] == CLIPS
    table = (folder / "clips.csv").read_text().splitlines()
    assert len(table) == CLIPS + 1
    columns = "name,category,frames,sounding_frames,miou,fscore,picture,recording"
    assert table[0] == f"{columns},miou_silent,miou_shuffled,heard_instead"
    text = (folder / "report.md").read_text()
    assert "floor: all objects" in text
    assert "avsbench (batch 4) mIoU | F" in text
    assert not list(folder.glob(".*"))


def test_bad_settings_and_answers(knowing, clips):
    with pytest.raises(UserError, match="no effect"):
        EvaluateSettings(samples=3)
    with pytest.raises(UserError, match="must include real"):
        EvaluateSettings(sounds=("silent",))
    with pytest.raises(UserError, match="no clips"):
        evaluate(
            knowing, SyntheticAVS(length=0), EvaluateSettings(progress=False, sounds=("real",))
        )
    broken = KnowingModel(clips, noise=float("nan"))
    with pytest.raises(UserError, match="NaN"):
        evaluate(broken, clips, EvaluateSettings(progress=False, latents="sample"))


class MeanBrightness:
    """A metric from outside: no base class, two numbers, from whatever it asks for."""

    name, label = "brightness", "brightness"

    def __init__(self):
        self.reset()

    def reset(self):
        self.rows = []

    def update(self, logits, batch, index):
        assert len(batch.names) == len(index)
        self.rows += torch.sigmoid(logits).flatten(1).mean(dim=1).tolist()

    def compute(self):
        return {"mean": sum(self.rows) / len(self.rows), "clips": len(self.rows)}


class MissedPixels:
    """Shares the measurement of the built-in protocols, by the name `sums`; known by its import path."""

    def update(self, sums):
        self.missed = getattr(self, "missed", 0) + float(
            (sums.scalar("positives") - sums.scalar("intersection")).sum()
        )

    def compute(self):
        return self.missed

    def reset(self):
        self.missed = 0


def test_metrics_from_outside_stand_in_every_form_of_the_report(knowing, clips, tmp_path, capsys):
    report = evaluate(
        knowing, clips, QUIET, metrics=["right_of_two", MeanBrightness(), MissedPixels]
    )
    masks = torch.stack([clips[i].masks for i in range(CLIPS)])
    assert report.scores["real"].brightness["mean"] == pytest.approx(masks.mean().item(), abs=0.01)
    assert (
        report.scores["real"].brightness["clips"]
        == report.floors["all_objects"].brightness["clips"]
        == CLIPS
    )
    assert report.scores["real"].MissedPixels == 0
    assert report.scores["silent"].MissedPixels == masks.sum()
    # and the headline
    assert set(report.scores["real"]) == {"per_clip", "right_of_two", "brightness", "MissedPixels"}
    written = report.write(tmp_path)
    assert json.loads((written / "report.json").read_text())["scores"]["real"]["MissedPixels"] == 0
    assert "brightness mean | clips | MissedPixels |" in (written / "report.md").read_text()
    report.show(Console())
    assert "Missed" in capsys.readouterr().out


def test_a_metric_that_cannot_be_computed_is_refused(knowing, clips):
    class Demanding(MissedPixels):
        def update(self, depth):
            """There is no depth."""

    for metric, message in (
        ("per_clp", "did you mean per_clip"),
        (object(), "lacks .update and .compute and .reset"),
        (Demanding(), "asks for depth: choose from .*logits"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(knowing, clips, QUIET, metrics=[metric])
    with pytest.raises(UserError, match="two metrics are named per_clip"):
        evaluate(
            knowing, clips, QUIET, metrics=["per_clip", "ecmvae.metrics.protocols:PerClipProtocol"]
        )


def test_a_model_and_clips_that_no_configuration_describes():
    """A network built by hand, and a list of clips."""
    torch.manual_seed(0)
    model = ECMVAE(VisualBackbone("efficientnet_lite0"), VGGishSmall(), channels=16, image_size=32)
    source = SyntheticAVS("s4", 3, 32, 5)
    clips = [source[i] for i in range(3)]
    report = evaluate(model, clips, EvaluateSettings(progress=False, batch_size=2))
    assert report.scores == evaluate(model, source, QUIET).scores
    model.eval()
    with torch.no_grad():
        prepare = ClipPreprocessor.of(model)
        batch = AVBatch.collate([prepare(clip) for clip in clips])
        logits = model(batch.frames, model.encode_audio(batch.audio), latents="mean").logits
    assert report.miou == pytest.approx(
        avsbench_iou(logits.flatten(0, 1), batch.masks.flatten(0, 1)).mean().item(), abs=1e-6
    )
    with pytest.raises(UserError, match="list does not say where its clips' files are"):
        evaluate(model, clips, QUIET, save_to="nowhere")
