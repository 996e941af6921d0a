"""Bytes over the worker pipe, and the same batch on the device as if every clip had been prepared by itself."""

import io
from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from prepared import VGGISH, prepared

from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.training.datamodule import EpochClips
from ecmvae.training.transfer import collate_small, finish
from ecmvae.types import AVBatch, AVClip


def _clips(count: int = 3) -> list[AVClip]:
    clips = SyntheticAVS("ms3", length=count, size=48, seed=2)
    valid = torch.tensor([True, True, True, False, False])
    made = [replace(clips[i], labels=7 * clips[i].objects, index=i) for i in range(count)]
    return [
        replace(clip, valid=valid if i == 1 else torch.ones_like(valid))
        for i, clip in enumerate(made)
    ]


def _mirrored(clip: AVClip) -> AVClip:
    maps = {
        name: getattr(clip, name)[..., range(47, -1, -1)]
        for name in ("frames", "masks", "objects", "labels")
    }
    return replace(clip, **maps)


def test_a_batch_is_what_its_clips_are_when_each_is_prepared_by_itself() -> None:
    clips = _clips()
    expected = AVBatch.collate(
        [prepared(_mirrored(clip)) if i == 2 else prepared(clip) for i, clip in enumerate(clips)]
    )
    travelling = [replace(VGGISH.with_audio(clip), mirrored=i == 2) for i, clip in enumerate(clips)]
    batch = finish(collate_small(travelling), VGGISH)
    for field in fields(AVBatch):
        mine, theirs = getattr(batch, field.name), getattr(expected, field.name)
        if isinstance(theirs, torch.Tensor):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs), field.name
        else:
            assert mine == theirs
    assert batch.frames[1, 3:].count_nonzero() == 0


def test_pictures_and_maps_travel_as_bytes() -> None:
    batch = collate_small(_clips())
    assert {getattr(batch, name).dtype for name in ("frames", "masks", "objects", "labels")} == {
        torch.uint8
    }
    frames, one_map = 3 * 5 * 3 * 48 * 48, 3 * 5 * 48 * 48
    assert (
        sum(getattr(batch, name).nbytes for name in ("frames", "masks", "objects", "labels"))
        == frames + 3 * one_map
    )


@pytest.mark.parametrize(("name", "value"), [("masks", 0.5), ("labels", -100), ("labels", 256)])
def test_numbers_that_are_no_bytes_arrive_as_they_are(name: str, value: float) -> None:
    clip = _clips(1)[0]
    maps = getattr(clip, name).clone()
    maps[0, ..., 3, 5] = value
    batch = finish(collate_small([replace(clip, **{name: maps})]), VGGISH)
    assert torch.equal(getattr(batch, name)[0], maps)


def test_frames_that_are_prepared_already_are_kept() -> None:
    clip = prepared(_clips(1)[0])
    assert torch.equal(finish(collate_small([clip]), VGGISH).frames[0], clip.frames)


def test_mirrors_fall_by_seed_epoch_and_place() -> None:
    def falls(seed: int, epoch: int) -> list[bool]:
        clips = EpochClips(SyntheticAVS("s4", length=30, size=32), VGGISH, seed=seed, flip=0.5)
        return [clips[epoch, i].mirrored for i in range(30)]

    assert falls(1, 4) == falls(1, 4)
    assert falls(1, 4) != falls(1, 5) != falls(2, 5)


def test_a_batch_goes_through_the_pipe_whole() -> None:
    batch = collate_small([VGGISH.with_audio(clip) for clip in _clips()])
    buffer = io.BytesIO()
    ForkingPickler(buffer).dump(batch)
    assert torch.equal(ForkingPickler.loads(buffer.getvalue()).frames, batch.frames)
