"""Folders of predicted PNG masks: there and back, in every naming, and what is refused."""

import pytest
import torch

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate_predictions
from ecmvae.evaluation.predictions import MaskFolder
from ecmvae.metrics.functional import avsbench_iou

QUIET = EvaluateSettings(progress=False)


@pytest.fixture(scope="module", params=["s4", "ms3"])
def folder(request, tmp_path_factory):
    """A composed root and its data set at the ground truth's size."""
    root = tmp_path_factory.mktemp("root")
    write_miniature(
        root, request.param, {"test": 3}, source=ShapeScenes(request.param, 40), composed=True
    )
    return AVSBenchDataset(root, request.param, "test", image_size=40)


def write_all(where, data, answer):
    predictions = MaskFolder(where)
    for i, clip in enumerate(data.clips):
        predictions.write(clip, answer(data[i])[:, None])
    return predictions


def answer_of(clip):
    """Something between right and wrong, with probabilities just around one half."""
    noise = torch.randn(clip.masks[:, 0].shape, generator=torch.Generator().manual_seed(1))
    return (clip.masks[:, 0] * 2 - 1) * 0.5 + noise * 0.7


def test_saved_predictions_score_as_the_model(folder, tmp_path):
    write_all(tmp_path, folder, answer_of)
    got = evaluate_predictions(tmp_path, folder, QUIET).scores["real"]
    logits = torch.cat([answer_of(folder[i]) for i in range(3)])
    masks = torch.cat([folder[i].masks[:, 0] for i in range(3)])
    assert got.per_clip.miou == pytest.approx(avsbench_iou(logits, masks).mean().item(), abs=1e-6)


def test_ground_truth_scores_one_in_any_known_naming(folder, tmp_path):
    tree = folder.clips[0].base / "gt_masks"
    for place in (tree, tree / "test"):
        report = evaluate_predictions(place, folder, QUIET)
        assert report.miou == pytest.approx(1)
        assert report.scores["real"].right_of_two in (1, None)
    for clip in folder.clips:  # name/name_0.png ... as some repositories number them
        (tmp_path / clip.name).mkdir()
        for k in range(1, 6):
            (tmp_path / clip.name / f"{clip.name}_{k - 1}.png").write_bytes(
                clip.mask(k).read_bytes()
            )
    assert evaluate_predictions(tmp_path, folder, QUIET).miou == pytest.approx(1)


def test_missing_and_wrong_predictions_are_named(folder, tmp_path):
    with pytest.raises(UserError, match=f"no prediction for clip {folder.clips[0].name}"):
        evaluate_predictions(tmp_path, folder, QUIET)
    small = AVSBenchDataset(folder.clips[0].base.parent, folder.task, "test", image_size=32)
    write_all(tmp_path, folder, answer_of)
    with pytest.raises(UserError, match="is 40 x 40 pixels but the ground truth is 32 x 32"):
        evaluate_predictions(tmp_path, small, QUIET)


def test_predictions_are_written_at_the_ground_truths_size(folder, tmp_path):
    small = AVSBenchDataset(folder.clips[0].base.parent, folder.task, "test", image_size=20)
    predictions = write_all(tmp_path, small, lambda clip: clip.masks[:, 0] * 12 - 6)
    read = predictions.read(folder.clips[0], 5, 40)[:, 0]
    assert (((read > 0).float() - folder[0].masks[:, 0]).abs().mean()) < 0.04


def test_eight_bits_keep_every_decision(folder, tmp_path):
    """Probabilities one float above, at and below one half land on the right side of it."""
    half = torch.tensor(0.5)
    values = torch.stack(
        [half, torch.nextafter(half, half + 1), torch.nextafter(half, half - 1), half * 0, half * 2]
    )
    probabilities = values.repeat(320).reshape(1, 1, 40, 40).expand(5, -1, -1, -1)
    predictions = MaskFolder(tmp_path)
    predictions.write(folder.clips[0], torch.logit(probabilities))
    read = torch.sigmoid(predictions.read(folder.clips[0], 5, 40))
    assert torch.equal(read > 0.5, probabilities > 0.5)
    assert read.unique().tolist() == pytest.approx([0, 127 / 255, 128 / 255, 1])
