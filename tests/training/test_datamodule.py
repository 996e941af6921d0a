import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from collage_fixture import make_sources
from prepared import VGGISH, log_mel, log_mel_of

from ecmvae.config import Config
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.writer import CollageSettings, write_collage
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.training.datamodule import (
    ClipDataModule,
    DistributedSequentialSampler,
    EpochClips,
    EpochSampler,
)
from ecmvae.types import AVBatch


def names(batches: list[AVBatch]) -> list[str]:
    return [name for batch in batches for name in batch.names]


def test_order_is_a_permutation_that_changes_with_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = EpochSampler(20, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(index for _, index in order(1, 0)) == list(range(20))
    assert {epoch for epoch, _ in order(1, 3)} == {3}
    assert order(1, 3) == order(1, 3)
    assert [i for _, i in order(1, 3)] != [i for _, i in order(1, 4)]
    assert [i for _, i in order(1, 3)] != [i for _, i in order(2, 3)]


def test_a_resumed_sampler_goes_on_where_it_stopped() -> None:
    whole, resumed = EpochSampler(10, 5), EpochSampler(10, 5)
    whole.set_epoch(2)
    resumed.set_epoch(2, skipped=4)
    resumed.set_epoch(2)  # Lightning says the epoch again: nothing changes
    assert list(resumed) == list(whole)[4:]
    resumed.set_epoch(3)
    assert len(list(resumed)) == 10


def test_processes_share_the_batches_of_one() -> None:
    """Batch by batch the shares put together are what a single process sees; also after a stop."""

    def order(skipped: int = 0, **place: int) -> list[tuple[int, int]]:
        sampler = EpochSampler(14, 3, batch_size=6, **place)
        sampler.set_epoch(1, skipped=skipped)
        return list(sampler)

    for skipped in (0, 6):
        alone = order(skipped)
        assert len(alone) == 12 - skipped
        shares = [order(skipped, rank=rank, processes=3) for rank in range(3)]
        together = [
            clip
            for start in range(0, len(shares[0]), 2)
            for share in shares
            for clip in share[start : start + 2]
        ]
        assert together == alone


@pytest.mark.parametrize(("length", "processes"), [(7, 2), (6, 3), (1, 4), (5, 1)])
def test_validation_is_shared_equally_and_repeats_are_marked(length: int, processes: int) -> None:
    places = [
        list(DistributedSequentialSampler(length, rank=rank, processes=processes))
        for rank in range(processes)
    ]
    assert len({len(mine) for mine in places}) == 1
    clips = EpochClips(SyntheticAVS("s4", length=length, size=32), VGGISH, seed=0)
    seen = [clips[key] for mine in places for key in mine]
    assert sorted(clip.index for clip in seen if clip.valid is None) == list(range(length))
    assert not any(clip.valid.any() for clip in seen if clip.valid is not None)
    assert {clip.index for clip in seen} == set(range(length))


def test_more_devices_than_clips(tiny) -> None:
    with pytest.raises(UserError, match="more than the 2 training clips"):
        ClipDataModule(tiny(data__length=2, train__devices=4), VGGISH)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_the_same_with_and_without_workers(tiny, workers: int) -> None:
    data = ClipDataModule(tiny(data__workers=workers), VGGISH)
    loader = data.train_dataloader()
    seen = []
    for epoch in range(2):
        data.sampler.set_epoch(epoch)
        seen.append([data.on_after_batch_transfer(batch, 0) for batch in loader])
    clips = SyntheticAVS("both", length=12, size=32, seed=1234)
    clips.set_epoch(1)
    expected = {clips[i].name: clips[i] for i in range(12)}
    for batch in seen[1]:  # a worker alive since epoch 0 must compose epoch 1's sound
        for row, name in enumerate(batch.names):
            assert torch.equal(batch.audio[row], log_mel(expected[name]))
            assert torch.equal(batch.masks[row], expected[name].masks)
    assert names(seen[0]) != names(seen[1])


def test_resuming_in_the_middle_of_an_epoch_skips_what_was_seen(tiny) -> None:
    whole, resumed = ClipDataModule(tiny(), VGGISH), ClipDataModule(tiny(), VGGISH)
    assert whole.steps_per_epoch == 3
    whole.sampler.set_epoch(2)
    resumed.resume_at(2 * 3 + 1)
    assert names(list(resumed.train_dataloader())) == names(list(whole.train_dataloader()))[4:]


def test_an_epoch_has_whole_steps_of_accumulated_batches(tiny) -> None:
    """12 clips, one a batch: two steps of five batches, and a resumed run goes on after the first."""
    config = tiny(train__batch_size=1, train__accumulate=5)
    whole, resumed = ClipDataModule(config, VGGISH), ClipDataModule(config, VGGISH)
    assert (whole.steps_per_epoch, len(whole.train_dataloader())) == (2, 10)
    whole.sampler.set_epoch(1)
    resumed.resume_at(2 + 1)
    assert names(list(resumed.train_dataloader())) == names(list(whole.train_dataloader()))[5:]
    # never more than there is
    assert ClipDataModule(tiny(train__accumulate=100), VGGISH).accumulate == 3


def test_validation_keeps_the_order_of_the_data_set(tiny) -> None:
    data = ClipDataModule(tiny(), VGGISH)
    assert names(list(data.val_dataloader())) == [data.val_clips.clips[i].name for i in range(4)]


def test_the_mirror_falls_as_often_as_asked_and_the_same_again() -> None:
    clips = SyntheticAVS("s4", length=40, size=32)
    wrapped = EpochClips(clips, VGGISH, seed=3, flip=0.3)
    flips = [wrapped[0, i].mirrored for i in range(40)]
    again = [wrapped[0, i].mirrored for i in range(40)]
    assert flips == again
    assert abs(sum(flips) - 12) <= 3 * math.sqrt(40 * 0.3 * 0.7)


def test_silence_is_what_the_front_end_makes_of_silence() -> None:
    from ecmvae.audio.vggish import log_mel_patches

    heard = EpochClips(SyntheticAVS("s4", length=2, size=32), VGGISH, seed=0, source="silent")[
        0, 0
    ].audio
    silence = log_mel_patches(torch.zeros(5 * 16_000), hop_seconds=1.0, num_patches=5)
    torch.testing.assert_close(heard, silence)
    torch.testing.assert_close(heard, torch.full_like(heard, math.log(0.01)))


def test_shuffled_sound_is_always_another_clips() -> None:
    clips = SyntheticAVS("s4", length=5, size=32)
    shuffled = EpochClips(clips, VGGISH, seed=0, source="shuffled")
    own = [log_mel(clips[i]) for i in range(5)]
    heard = [shuffled[0, i].audio for i in range(5)]
    givers = [next(j for j in range(5) if torch.equal(own[j], h)) for h in heard]
    assert sorted(givers) == list(range(5))
    assert all(giver != i for i, giver in enumerate(givers))


class Undrawn(CollageClips):
    """Shows one clip only; of the others nothing but the sound may be asked for."""

    def frames(self, index: int):
        assert index == 0, "another clip's pictures were drawn for its sound"
        return super().frames(index)


def test_shuffled_sound_of_a_collage_draws_no_other_pictures(tmp_path: Path) -> None:
    sources = make_sources(tmp_path / "sources")
    undrawn, plain = (kind(sources, "both", length=4, size=32) for kind in (Undrawn, CollageClips))
    heard = EpochClips(undrawn, VGGISH, seed=0, source="shuffled")[3, 0].audio
    assert sum(torch.equal(heard, log_mel_of(plain.sound(other, 3)[0])) for other in (1, 2, 3)) == 1


EXPECTED_MASKS = {"auto": 5, "first": 1, "all": 5}


def supervised(config: Config, rule: str, **data: Any) -> int:
    """Supervised frames of the first training clip; validation must have all five in any case."""
    built = ClipDataModule(
        replace(config, data=replace(config.data, supervised=rule, num_frames=5, **data)), VGGISH
    )
    assert bool(built.val_clips[0, 0].supervised.all())
    return int(built.train_clips[0, 0].supervised.sum())


@pytest.mark.parametrize(("rule", "masks"), EXPECTED_MASKS.items())
def test_supervised_means_the_same_for_every_data_set(
    tiny, tmp_path: Path, rule: str, masks: int
) -> None:
    """Synthetic, Collage written in S4's and MS3's layout, MS3 as released: they all have every mask."""
    config: Config = tiny()
    assert supervised(config, rule) == masks
    sources = make_sources(tmp_path / "sources")
    small = CollageSettings(
        size=64, splits=("train", "val"), clips_per_set=1, train_clips=1, raw_video=False
    )
    root = write_collage(tmp_path / "collage", sources, small, workers=1, progress=False)
    for task in ("s4", "ms3"):
        assert supervised(config, rule, name=task, root=str(root), hop_seconds=1.0) == masks


def test_s4_as_released_has_the_first_mask_alone(tiny, tmp_path: Path) -> None:
    write_miniature(tmp_path, "s4", {"train": 1, "val": 1}, source=ShapeScenes("s4", 32))
    for rule in ("auto", "first"):
        assert supervised(tiny(), rule, name="s4", root=str(tmp_path)) == 1
    with pytest.raises(UserError, match="no such file"):
        supervised(tiny(), "all", name="s4", root=str(tmp_path))


def test_nothing_to_shuffle_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="two clips"):
        EpochClips(SyntheticAVS("s4", length=1, size=32), VGGISH, seed=0, source="shuffled")


def test_avsbench_without_a_root_says_what_to_do(tiny) -> None:
    config: Config = tiny()
    with pytest.raises(UserError, match=r"--data\.root"):
        ClipDataModule(replace(config, data=replace(config.data, name="ms3")), VGGISH)
