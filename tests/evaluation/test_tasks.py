"""Floors mark what they say, and the drawn object is a fair draw of visible ones."""

import torch

from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.evaluation.tasks import floor_logits
from ecmvae.types import AVBatch, AVClip


def batch_of(objects: torch.Tensor, clips: int) -> AVBatch:
    """Clips that all look the same."""
    frames = torch.zeros(2, 3, *objects.shape[1:])
    clip = AVClip(
        name="c",
        frames=frames,
        masks=(objects > 0).float()[:, None],
        objects=objects,
    )
    return AVBatch.collate([clip] * clips)


def test_marks():
    objects = torch.tensor([[[0, 1], [2, 2]], [[0, 0], [2, 0]]])
    marked = {
        name: logits > 0
        for name, logits in floor_logits(batch_of(objects, 1), torch.tensor([0])).items()
    }
    assert not marked["all_background"].any()
    assert marked["all_foreground"].all()
    assert torch.equal(marked["all_objects"][0, :, 0], objects > 0)
    drawn = marked["random_object"][0, :, 0]
    assert any(torch.equal(drawn, objects == k) for k in (1, 2))


def test_draw_is_fair_seeded_and_never_invisible():
    objects = torch.tensor([[[0, 1], [3, 3]], [[0, 0], [3, 0]]])  # number 2 is hidden
    index = torch.arange(400)
    drawn = floor_logits(batch_of(objects, 400), index)["random_object"][:, 0, 0] > 0
    first = drawn[:, 0, 1].float().mean()
    assert 0.42 < first < 0.58
    assert torch.equal(drawn[:, 1, 0], ~drawn[:, 0, 1])
    assert torch.equal(
        drawn[7:9], floor_logits(batch_of(objects, 2), index[7:9])["random_object"][:, 0, 0] > 0
    )
    assert not torch.equal(
        drawn, floor_logits(batch_of(objects, 400), index, seed=1)["random_object"][:, 0, 0] > 0
    )


def test_nothing_visible_and_nothing_known():
    nothing = torch.zeros(2, 4, 4, dtype=torch.long)
    assert not (floor_logits(batch_of(nothing, 1), torch.tensor([0]))["random_object"] > 0).any()
    clip = SyntheticAVS(length=1, size=16)[0]
    real = AVBatch.collate([AVClip(name="c", frames=clip.frames, masks=clip.masks)])
    assert set(floor_logits(real, torch.tensor([0]))) == {"all_background", "all_foreground"}
