from dataclasses import replace

import pytest
import torch

from ecmvae.types import AVBatch, AVClip


def _clip(name: str, objects: int, frames: int = 2) -> AVClip:
    return AVClip(
        name=name,
        frames=torch.rand(frames, 3, 32, 32),
        audio=torch.rand(frames, 1, 96, 64),
        masks=torch.randint(2, (frames, 1, 32, 32)).float(),
        sounding=torch.ones(frames, objects, dtype=torch.bool),
    )


def test_collate_stacks_in_order_and_pads_the_sounding_table() -> None:
    clips = [_clip("a", 2), _clip("b", 3)]
    batch = AVBatch.collate(clips)
    assert batch.names == ("a", "b")
    assert torch.equal(batch.frames[1], clips[1].frames)
    assert batch.sounding is not None
    assert batch.sounding.tolist() == [[[True, True, False]] * 2, [[True, True, True]] * 2]
    assert batch.objects is None  # not every clip had it


def test_classes_are_kept_where_all_clips_know_them() -> None:
    first, second = (
        replace(_clip(name, 2), classes=("dog", ""), heard=(("dog",), ())) for name in "ab"
    )
    batch = AVBatch.collate([first, second])
    assert batch.classes == (("dog", ""), ("dog", ""))
    assert batch.heard == ((("dog",), ()), (("dog",), ()))
    other = AVBatch.collate([first, _clip("c", 2)])
    assert other.classes is None
    assert other.heard is None


def test_bad_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="empty list"):
        AVBatch.collate([])
    with pytest.raises(ValueError, match="must agree in frames and size"):
        AVBatch.collate([_clip("a", 1, frames=2), _clip("b", 1, frames=3)])


def test_to_moves_every_tensor_and_keeps_the_names() -> None:
    batch = AVBatch.collate([_clip("a", 1)])
    moved = batch.to("meta")
    assert moved.frames.device.type == moved.audio.device.type == "meta"
    assert moved.sounding is not None
    assert moved.sounding.device.type == "meta"
    assert moved.names == ("a",)
