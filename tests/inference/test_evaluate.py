"""The evaluator against models whose answers are known: one that knows, one that only sees, one that draws."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.inference.evaluate import EvaluateSettings, evaluate, evaluate_predictions
from ecmvae.inference.listening import derangement
from ecmvae.inference.predictions import PredictionFolder
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.types import AVBatch

QUIET = EvaluateSettings(progress=False)
CLIPS = 9


class KnowingModel(nn.Module):
    """Marks the object whose sound it is given, from a table of what every clip looks like.

    Its "embedding" of a sound is a fingerprint by which it finds the clip that the sound belongs to, and so the class
    that sounds in it. It marks the objects of that class in the picture it sees; for silence it marks nothing.
    """

    def __init__(self, clips, noise=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.noise = noise
        self.clips = [clips[i] for i in range(len(clips))]
        self.seen = torch.stack([clip.frames for clip in self.clips]).flatten(1)
        self.heard = torch.stack([clip.log_mel for clip in self.clips]).flatten(1)
        self.classes = [clips.classes(i) for i in range(len(clips))]

    def encode_audio(self, log_mel):
        return torch.nn.functional.pad(log_mel.flatten(2)[..., :64], (0, 64))

    def extract_features(self, frames):
        return (frames,)

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
                    names = {name for name, on in zip(self.classes[whose], active.tolist(), strict=True) if on}
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
    masks = every.flat_masks[:, 0]
    expected = (masks.flatten(1).sum(1) / union.flatten(1).sum(1)).mean().item()
    assert report.floors["all_objects"].per_clip.miou == pytest.approx(expected, abs=1e-5)
    assert report.floors["all_foreground"].per_clip.miou == pytest.approx(masks.mean().item(), abs=1e-6)
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
        evaluate(noisy, clips, EvaluateSettings(progress=False, latents="sample", samples=k, sounds=("real",)))
        for k in (1, 8)
    )
    assert mean.miou == pytest.approx(1)
    assert one.miou < many.miou < mean.miou  # the mean over draws is better than a draw
    assert one.miou_spread is None
    assert 0 < many.miou_spread < 0.1
    assert evaluate(noisy, clips, EvaluateSettings(progress=False, latents="sample", sounds=("real",))) != mean


def test_categories_and_rows_agree_with_the_total(report):
    clips = sum(row.clips for row in report.categories.values())
    assert clips == CLIPS
    rows = report.clips["shuffled"]
    assert sum(row.miou for row in rows) / CLIPS == pytest.approx(report.scores["shuffled"].per_clip.miou)


def test_report_files(report, tmp_path):
    folder = report.write(tmp_path / "out")
    read = json.loads((folder / "report.json").read_text())
    assert read["scores"]["real"]["avsbench"] == {"miou": pytest.approx(1), "fscore": pytest.approx(1)}
    assert read["about"]["batch_clips"] == 4
    assert read["about"]["clips"] == CLIPS
    table = (folder / "clips.csv").read_text().splitlines()
    assert len(table) == CLIPS + 1
    assert table[0] == "name,category,frames,sounding_frames,miou,fscore,miou_silent,miou_shuffled,heard_instead"
    text = (folder / "report.md").read_text()
    assert "floor: all objects" in text
    assert "avsbench (batch 4)" in text
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_derangement_moves_everything(count):
    orders = [derangement(count, seed) for seed in range(5)]
    for order in orders:
        assert sorted(order) == list(range(count))
        assert all(i != j for i, j in enumerate(order))
    assert orders[0] == derangement(count, 0)
    with pytest.raises(UserError, match="at least two"):
        derangement(1, 0)


def test_bad_settings_and_answers(knowing, clips):
    with pytest.raises(UserError, match="no effect"):
        EvaluateSettings(samples=3)
    with pytest.raises(UserError, match="must include real"):
        EvaluateSettings(sounds=("silent",))
    with pytest.raises(UserError, match="no clips"):
        evaluate(knowing, SyntheticAVS(length=0), EvaluateSettings(progress=False, sounds=("real",)))
    broken = KnowingModel(clips, noise=float("nan"))
    with pytest.raises(UserError, match="NaN"):
        evaluate(broken, clips, EvaluateSettings(progress=False, latents="sample"))


@pytest.fixture(scope="module", params=["s4", "ms3"])
def folder(request, tmp_path_factory):
    """A composed root and its data set at the ground truth's size."""
    root = tmp_path_factory.mktemp("root")
    write_miniature(root, request.param, {"test": 3}, source=ShapeScenes(request.param, 40), composed=True)
    return AVSBenchDataset(root, request.param, "test", image_size=40)


def write_all(where, data, answer):
    predictions = PredictionFolder(where)
    for i, clip in enumerate(data.clips):
        predictions.write(clip, torch.sigmoid(answer(data[i])))
    return predictions


def answer_of(clip):
    """Something between right and wrong, with probabilities just around one half."""
    noise = torch.randn(clip.masks[:, 0].shape, generator=torch.Generator().manual_seed(1))
    return (clip.masks[:, 0] * 2 - 1) * 0.5 + noise * 0.7


def test_saved_predictions_score_as_the_model(folder, tmp_path):
    predictions = write_all(tmp_path, folder, answer_of)
    got = evaluate_predictions(predictions, folder, folder.clips, QUIET).scores["real"]
    logits = torch.cat([answer_of(folder[i]) for i in range(3)])
    masks = torch.cat([folder[i].masks[:, 0] for i in range(3)])
    assert got.per_clip.miou == pytest.approx(avsbench_iou(logits, masks).mean().item(), abs=1e-6)


def test_ground_truth_scores_one_in_any_known_naming(folder, tmp_path):
    tree = folder.clips[0].base / "gt_masks"
    for place in (tree, tree / "test"):
        report = evaluate_predictions(PredictionFolder(place), folder, folder.clips, QUIET)
        assert report.miou == pytest.approx(1)
        assert report.scores["real"].right_of_two in (1, None)
    for clip in folder.clips:  # name/name_0.png ... as some repositories number them
        (tmp_path / clip.name).mkdir()
        for k in range(1, 6):
            (tmp_path / clip.name / f"{clip.name}_{k - 1}.png").write_bytes(clip.mask(k).read_bytes())
    assert evaluate_predictions(PredictionFolder(tmp_path), folder, folder.clips, QUIET).miou == pytest.approx(1)


def test_missing_and_wrong_predictions_are_named(folder, tmp_path):
    with pytest.raises(UserError, match=f"no prediction for clip {folder.clips[0].name}"):
        evaluate_predictions(PredictionFolder(tmp_path), folder, folder.clips, QUIET)
    small = AVSBenchDataset(folder.clips[0].base.parent, folder.task, "test", image_size=32)
    predictions = write_all(tmp_path, folder, answer_of)
    with pytest.raises(UserError, match="is 40 x 40 pixels but the ground truth is 32 x 32"):
        evaluate_predictions(predictions, small, small.clips, QUIET)


def test_predictions_are_written_at_the_ground_truths_size(folder, tmp_path):
    small = AVSBenchDataset(folder.clips[0].base.parent, folder.task, "test", image_size=20)
    predictions = write_all(tmp_path, small, lambda clip: clip.masks[:, 0] * 12 - 6)
    read = predictions.read(folder.clips[0], 5, 40)
    assert (((read > 0).float() - folder[0].masks[:, 0]).abs().mean()) < 0.04
