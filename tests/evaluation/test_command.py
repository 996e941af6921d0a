"""Scores of classes against a plain loop over frames, and the command from paths to reports."""

import copy
import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from prepared import logits_without_padding

from ecmvae.config import config_from_dict
from ecmvae.data.avss import AVSSDataset, read_classes
from ecmvae.data.miniature import ShapeScenes, write_miniature_avss
from ecmvae.data.palette import voc_palette
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.evaluation.command import evaluate as evaluate_command
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate, evaluate_predictions
from ecmvae.evaluation.predictions import ClassFolder
from ecmvae.evaluation.tasks import ClassTask
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.models import build_model
from ecmvae.models.checkpoint import save_model
from ecmvae.types import AVBatch

SIDE = 32
QUIET = EvaluateSettings(progress=False)
CONFIG = {
    "model": {
        "visual": {"name": "efficientnet_lite0"},
        "audio": {"name": "vggish_small"},
        "channels": 16,
        "num_classes": 71,
    },
    "data": {"name": "avss", "image_size": SIDE, "num_frames": 10},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One test clip in each subset; pictures of 40 pixels."""
    return write_miniature_avss(
        tmp_path_factory.mktemp("avss") / "root",
        {"test": 1},
        single=ShapeScenes("s4", 40),
        several=ShapeScenes("ms3", 40),
    )


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = config_from_dict(CONFIG)
    built = build_model(config.model, image_size=SIDE, with_audio_encoder=True).eval()
    built.config, built.class_names = config, ("background", *(f"thing {k}" for k in range(1, 71)))
    head = built.prior_branch.decoder.head.layers[-1]
    head.weight.data *= 30  # an untrained head says one class everywhere
    return built


def plain(frames):
    """mIoU and F over (predicted, truth) frames, class by class, in a loop."""
    ious, fscores = {}, {}
    for predicted, truth in frames:
        for c in set(predicted.ravel().tolist()) | set(truth.ravel().tolist()):
            a, b = predicted == c, truth == c
            hits = (a & b).sum()
            ious.setdefault(c, []).append(hits / (a | b).sum())
            precision, recall = hits / max(a.sum(), 1), hits / max(b.sum(), 1)
            fscores.setdefault(c, []).append(
                1.3 * precision * recall / (0.3 * precision + recall) if hits else 0
            )
    return [np.mean([np.mean(each) for each in table.values()]) for table in (ious, fscores)], ious


def test_a_model_against_a_plain_loop(root, model):
    clips = AVSSDataset(root, "test", image_size=SIDE)
    report = evaluate(model, clips, EvaluateSettings(progress=False, batch_size=2))
    real, padded, of_subset = [], [], {}
    for k in range(3):
        batch = AVBatch.collate([ClipPreprocessor.of(model)(clips[k])])
        logits = logits_without_padding(model, batch)
        predicted, truth = logits[0].argmax(1).numpy(), batch.labels[0].numpy()
        seconds = clips.clips[k].seconds
        predicted[seconds:] = 0  # AVSBench answers padding with background
        frames = list(zip(predicted, truth, strict=True))
        real += frames[:seconds]
        padded += frames[seconds:]
        of_subset[clips.clips[k].subset] = frames[:seconds]
    answer = report.scores["real"]
    assert len(padded) == 10
    assert answer.frames[:2] == pytest.approx(plain(real)[0], abs=1e-6)
    assert answer.released[:2] == pytest.approx(plain(real + padded)[0], abs=1e-6)
    assert {name: scores[:2] for name, scores in answer.subsets.items()} == {
        name: pytest.approx(plain(frames)[0], abs=1e-6) for name, frames in of_subset.items()
    }
    ious = plain(real)[1]
    assert len(ious) > 5
    assert {row.number: (row.frames, row.iou) for row in report.classes} == {
        c: (len(each), pytest.approx(np.mean(each), abs=1e-6)) for c, each in ious.items()
    }
    assert report.classes[0].name == "background"
    assert {"real sound", "silent sound", "shuffled sound", "floor: background"} == set(
        report.to_dict()["scores"]
    )
    assert [clip.miou for clip in report.clips["real"]] == pytest.approx(
        [plain(frames)[0][0] for frames in of_subset.values()], abs=1e-6
    )


def test_on_masks_it_is_scored_by_anything_but_background(model):
    clips = SyntheticAVS("s4", length=2, size=SIDE)
    report = evaluate(model, clips, EvaluateSettings(progress=False, sounds=("real",)))
    prepare = ClipPreprocessor.of(model)
    batch = AVBatch.collate([prepare(clips[0]), prepare(clips[1])])
    logits = logits_without_padding(model, batch)
    foreground = torch.logit(1 - logits.double().softmax(dim=2)[:, :, 0]).flatten(0, 1).float()
    assert report.miou == pytest.approx(
        avsbench_iou(foreground, batch.masks.flatten(0, 2)).mean().item(), abs=1e-6
    )


def test_the_command_and_its_saved_classes(root, model, tmp_path, capsys):
    checkpoint = save_model(model, tmp_path / "run" / "best", model.config)
    out, masks = tmp_path / "out", tmp_path / "masks"
    run = {"data": str(root), "device": "cpu", "out": str(out)}
    evaluate_command(
        str(checkpoint.parent), save_predictions=str(masks), visual_only=str(checkpoint), **run
    )
    evaluate_command(predictions=str(masks), task="avss", **run)
    assert "avss test, 3 clips" in capsys.readouterr().out
    told = json.loads((out / "avss_test" / "report.json").read_text())
    again = json.loads((tmp_path / "out-2" / "avss_test" / "report.json").read_text())
    assert "floor: visual only" in told["scores"]
    assert told["about"]["config"]["model"]["num_classes"] == 71
    # Not equal: the one is scored at the model's 32 pixels, the other at the 224 of the release.
    assert again["miou"] == pytest.approx(told["miou"], abs=0.03)
    text = (out / "avss_test" / "report.md").read_text()
    assert "| real sound | v2 |" in text
    rows = list(csv.DictReader((out / "avss_test" / "clips.csv").open()))
    assert [row["subset"] for row in rows] == ["v1s", "v1m", "v2"]
    classes = list(csv.DictReader((out / "avss_test" / "classes.csv").open()))
    assert [int(row["number"]) for row in classes] == sorted(c["number"] for c in told["classes"])
    with pytest.raises(UserError, match="robustness is defined for masks"):
        evaluate_command(str(checkpoint), robustness=True, **run)


def test_the_ground_truth_scores_one_in_any_known_naming(root, tmp_path):
    clips = AVSSDataset(root, "test", image_size=224)
    grey = tmp_path / "grey"
    for clip in clips.clips:
        (grey / clip.name).mkdir(parents=True)
        for k in range(clip.seconds):
            Image.fromarray(read_classes(clip.label(k))).save(grey / clip.name / f"{k}.png")
    written = ClassFolder(tmp_path / "written")
    for k, clip in enumerate(clips.clips):
        written.write(clip, clips[k].labels)
    first = clips.clips[0]
    picture = Image.open(written.folder / first.name / f"{first.name}_4.png")
    assert (picture.mode, picture.size) == ("RGB", (40, 40))
    assert {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3)} <= {
        tuple(c) for c in voc_palette(71)
    }
    for folder in (written.folder, root, grey):
        report = evaluate_predictions(folder, clips, QUIET)
        assert report.miou == 1
        assert report.scores["real"].released.fscore == pytest.approx(1)
    floor = report.floors["background"]
    assert floor.released.miou > floor.frames.miou
    assert floor.frames.miou_without_background == 0


def test_bad_input(root, model, tmp_path):
    clips = AVSSDataset(root, "test", image_size=224)
    first = clips.clips[0]
    with pytest.raises(UserError, match=f"no prediction for clip {first.name}"):
        evaluate_predictions(tmp_path, clips, QUIET)
    folder = shutil.copytree(root, tmp_path / "copy")
    broken = folder / first.subset / first.name / "labels_rgb" / "0.png"
    for picture, message in (
        (
            Image.new("RGB", (8, 8)),
            "is 8 x 8 pixels; a prediction has the size of its picture, 40 x 40",
        ),
        (Image.new("L", (40, 40), 200), "holds 200, but classes go from 0 to 70"),
        (Image.new("RGB", (40, 40), (1, 2, 3)), "belongs to no class"),
    ):
        picture.save(broken)
        with pytest.raises(UserError, match=message):
            evaluate_predictions(folder, clips, QUIET)
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UserError, match="cannot be read as a picture"):
        evaluate_predictions(folder, clips, QUIET)
    binary = config_from_dict({"model": {**CONFIG["model"], "num_classes": 1}})
    marks = build_model(binary.model, image_size=SIDE, with_audio_encoder=True)
    small = AVSSDataset(root, "test", image_size=SIDE)
    with pytest.raises(UserError, match=r"this model has model\.num_classes=1"):
        evaluate(marks, small, QUIET, task=ClassTask(small.class_names))
    broken_model = copy.deepcopy(model)
    broken_model.prior_branch.decoder.head.layers[-1].bias.data[3] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        evaluate(broken_model, small, QUIET)
