"""Pixels and frames that do not count: the same scores as if they had been cut away."""

import pytest
import torch

from ecmvae.metrics.metric_set import MetricSet
from ecmvae.types import AVBatch, AVClip

NAMES = ["per_clip", "avsbench", "dataset", "miou_nonempty", "davis", "fdr_masks", "uncertainty"]


def batch(masks, **fields):
    frames = torch.zeros(*masks.shape[1:2], 3, *masks.shape[-2:])
    clips = [
        AVClip(
            name=str(k),
            frames=frames,
            masks=mask,
            **{name: value[k] for name, value in fields.items()},
        )
        for k, mask in enumerate(masks)
    ]
    return AVBatch.collate(clips)


def scores(given, logits):
    metrics = MetricSet(NAMES)
    metrics.update(given, torch.arange(len(logits)), logits=logits, draws=logits[None])
    return metrics.compute()


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(3, 2, 1, 8, 8, generator=generator) > 0.6).float()
    return masks, torch.randn(3, 2, 1, 8, 8, generator=generator) + masks


def test_ignored_pixels(clips):
    masks, logits = clips
    ignored = torch.zeros(3, 2, 8, 8, dtype=torch.bool)
    ignored[..., 5:] = True
    masks = masks.masked_fill(ignored.unsqueeze(2), 0.0)
    found = scores(batch(masks, ignored=ignored), logits)
    cut = scores(batch(masks[..., :5]), logits[..., :5])
    for name in ("per_clip", "avsbench", "miou_nonempty"):
        assert found[name] == pytest.approx(cut[name], abs=1e-6)
    assert found["dataset"][:2] == pytest.approx(cut["dataset"][:2], abs=1e-6)
    assert found["fdr_masks"] == pytest.approx(cut["fdr_masks"], abs=1e-6)
    assert scores(batch(masks), logits)["per_clip"] != pytest.approx(found["per_clip"], abs=1e-3)


def test_frames_that_are_not_valid(clips):
    masks, logits = clips
    valid = torch.tensor([[True, False]] * 3)
    found, cut = (
        scores(batch(masks, valid=valid), logits),
        scores(batch(masks[:, :1]), logits[:, :1]),
    )
    for name in NAMES:
        assert found[name] == pytest.approx(cut[name], abs=1e-6)


def test_ignored_pixels_of_classes(clips):
    labels = clips[0][:, :, 0].long()
    ignored = torch.zeros(3, 2, 8, 8, dtype=torch.bool)
    ignored[..., 6:] = True
    labels[ignored] = 0
    given = batch(clips[0], labels=labels, ignored=ignored)
    wrong = 1 - labels  # the other class everywhere, also where nobody labelled
    logits = torch.nn.functional.one_hot(wrong, 2).permute(0, 1, 4, 2, 3).float()
    for classes in (wrong, logits):
        metrics = MetricSet(["frames"], num_classes=2)
        metrics.update(given, torch.arange(3), classes=classes)
        assert metrics.compute()["frames"].miou_without_background == 0
    metrics = MetricSet(["fdr"], num_classes=2)
    metrics.update(given, torch.arange(3), classes=wrong)
    assert metrics.compute()["fdr"].fdr == 1
