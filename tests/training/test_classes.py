"""A model of 71 classes, trained on a miniature AVSS."""

import json
import math
from dataclasses import replace

import pytest
import torch
from prepared import VGGISH, logits_without_padding, prepared

from ecmvae.data.avss import AVSSDataset
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.metrics.semantic import SemanticProtocol
from ecmvae.models.checkpoint import load_model
from ecmvae.training.datamodule import ClipDataModule
from ecmvae.training.module import SegmentationModule
from ecmvae.training.run import train
from ecmvae.training.transfer import collate_small, finish
from ecmvae.types import AVBatch


def test_clips_of_five_and_ten_seconds_share_a_batch(tiny_avss) -> None:
    data = ClipDataModule(tiny_avss(data__workers=0), VGGISH)
    names = {clip.name: clip for clip in data.train_clips.clips.clips}
    assert len(data.class_names) == 71
    for batch in data.train_dataloader():
        for row, name in enumerate(batch.names):
            assert int(batch.valid[row].sum()) == names[name].seconds
            assert int(batch.supervised[row].sum()) == names[name].labelled
        assert torch.equal(batch.masks[:, :, 0] > 0, batch.labels > 0)
        assert not (batch.supervised & ~batch.valid).any()


def test_labels_are_seen_in_the_mirror_too(avss_root) -> None:
    clip = AVSSDataset(avss_root, "test", image_size=32)[0]
    batch = finish(collate_small([replace(clip, mirrored=True)]), VGGISH)
    assert torch.equal(batch.labels[0], clip.labels.flip(2))
    assert torch.equal(batch.masks[:, :, 0] > 0, batch.labels > 0)


def test_other_numbers_of_classes_are_refused(tiny_avss) -> None:
    with pytest.raises(UserError, match=r"set model\.num_classes to 71"):
        ClipDataModule(tiny_avss(model__num_classes=5), VGGISH)
    with pytest.raises(
        UserError, match=r"needs labelled classes, which data\.name=s4 does not have"
    ):
        tiny_avss(data__name="s4")


def test_the_loss_falls_and_the_classes_are_learned(tiny_avss) -> None:
    torch.manual_seed(0)
    config = tiny_avss(model__channels=16, model__fusion__kind="tpavi")
    module = SegmentationModule(config).train()
    clips = AVSSDataset(config.data.root, "train", image_size=32)
    # v1m and v2: five seconds and ten
    batch = AVBatch.collate([prepared(clips[2]), prepared(clips[4])])
    # the backbone is frozen
    batch = replace(batch, features=module.model.extract_features(batch.frames))
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(45):
        terms = module.loss(
            module(batch, learn=True),
            batch.masks,
            batch.supervised,
            labels=batch.labels,
            valid=batch.valid,
        )
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(terms.values["cross_entropy"].item())
    assert losses[0] == pytest.approx(math.log(71), rel=0.2)
    assert losses[-1] < 0.1 * losses[0]
    scores, nothing = SemanticProtocol(), SemanticProtocol()
    scores.update(module(batch, latents="mean").logits.detach(), batch.labels, batch.valid)
    nothing.update(torch.zeros_like(batch.labels), batch.labels, batch.valid)
    assert scores.compute().miou > nothing.compute().miou


def test_a_run_leaves_a_model_that_knows_its_classes(tiny_avss, avss_root) -> None:
    run = train(tiny_avss(train__epochs=1, train__log_images=1))
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    told = next(row for row in rows if "val/miou" in row)
    model = load_model(run)
    assert model.class_names == AVSSDataset(avss_root, "val").class_names
    clips = AVSSDataset(avss_root, "val", image_size=32)
    metric = SemanticProtocol()
    for clip in (clips[k] for k in range(len(clips))):
        batch = AVBatch.collate([ClipPreprocessor.of(model)(clip)])
        logits = logits_without_padding(model, batch)
        metric.update(logits, batch.labels, batch.valid)
    assert logits.shape == (1, 10, 71, 32, 32)
    expected = {
        f"val/{name}": value
        for name, value in metric.compute()._asdict().items()
        if not math.isnan(value)
    }
    # Features are cached in half precision while training.
    assert {name: told[name] for name in expected} == pytest.approx(expected, abs=0.02)
    assert {"train/cross_entropy", "train/posterior_cross_entropy"} <= set(rows[0])
