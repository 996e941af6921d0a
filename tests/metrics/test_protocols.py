"""The three protocols against plain loops, for any batching and on two processes."""

import json
import random
from pathlib import Path

import naive
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ecmvae.metrics import (
    AVSBenchProtocol,
    DatasetProtocol,
    NonEmptyIoU,
    PerClipProtocol,
    RightOfTwo,
)
from ecmvae.metrics.calibration import CalibrationError
from ecmvae.metrics.semantic import SemanticProtocol

CLIPS, FRAMES, SIDE = 7, 3, 24


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Seven clips whose objects are off by a few pixels; some frames and one whole clip are empty."""
    random = torch.Generator().manual_seed(3)
    masks = torch.zeros(CLIPS, FRAMES, 1, SIDE, SIDE)
    logits = torch.randn(masks.shape, generator=random)
    for clip in range(CLIPS):
        for frame in range(FRAMES):
            if clip == 2 or (clip + frame) % 4 == 0:
                continue
            y, x, size = (int(v) for v in torch.randint(2, 12, (3,), generator=random))
            masks[clip, frame, 0, y : y + size, x : x + size] = 1
            logits[clip, frame, 0, y + 1 : y + 1 + size, x : x + size] += 3
    return logits, masks


def objects(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Object 1 sounds where the mask is; object 2 is a silent strip."""
    numbers = masks[:, :, 0].long()
    numbers[..., -2:, :] = 2
    sounding = torch.zeros(*numbers.shape[:2], 2, dtype=torch.bool)
    sounding[..., 0] = True
    return numbers, sounding


METRICS = {
    "avsbench_4": lambda: AVSBenchProtocol(batch_clips=4),
    "avsbench_2": lambda: AVSBenchProtocol(batch_clips=2),
    "per_clip": PerClipProtocol,
    "dataset": DatasetProtocol,
    "nonempty": NonEmptyIoU,
}


def scores(batches: list[list[int]]) -> dict[str, float]:
    """Every metric's values after updates with these lists of clip indices."""
    logits, masks = clips()
    numbers, sounding = objects(masks)
    metrics = {name: make() for name, make in METRICS.items()}
    right = RightOfTwo()
    for batch in batches:
        index = torch.tensor(batch)
        for metric in metrics.values():
            metric.update(logits[index], masks[index], index)
        right.update(logits[index], numbers[index], sounding[index], index)
    flat = {"right": right.compute(), "nonempty": metrics.pop("nonempty").compute()}
    for name, metric in metrics.items():
        flat |= {f"{name}.{key}": value for key, value in metric.compute()._asdict().items()}
    return flat


WHOLE = [list(range(CLIPS))]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_avsbench_protocol_against_a_plain_loop(size):
    logits, masks = (part.squeeze(2) for part in clips())
    ious, fscores = [], []
    for start in range(0, CLIPS, size):
        a, b = (part[start : start + size].flatten(0, 1) for part in (logits, masks))
        ious.append(np.mean([naive.frame_iou(x, y) for x, y in zip(a, b, strict=True)]))
        fscores.append(naive.batch_fscore(a, b))
    metric = AVSBenchProtocol(batch_clips=size)
    metric.update(*clips(), torch.arange(CLIPS))
    assert metric.compute() == pytest.approx((np.mean(ious), np.mean(fscores)), abs=1e-6)


def test_per_clip_is_avsbench_with_one_clip_a_batch():
    one, per_clip = AVSBenchProtocol(batch_clips=1), PerClipProtocol()
    for metric in (one, per_clip):
        metric.update(*clips(), torch.arange(CLIPS))
    assert one.compute() == per_clip.compute()


def test_dataset_protocol_is_one_huge_frame():
    logits, masks = clips()
    huge = logits.reshape(-1, SIDE), masks.reshape(-1, SIDE)
    got = scores(WHOLE)
    foreground = naive.frame_iou(*huge)
    background = naive.frame_iou(-huge[0] - 1e-6, 1 - huge[1])
    assert got["dataset.miou"] == pytest.approx(foreground, abs=1e-6)
    assert got["dataset.fscore"] == pytest.approx(
        naive.batch_fscore(huge[0][None], huge[1][None]), abs=1e-6
    )
    assert got["dataset.two_class_miou"] == pytest.approx((foreground + background) / 2, abs=1e-6)


def test_nonempty_iou_leaves_empty_frames_out():
    logits, masks = (part.flatten(0, 2) for part in clips())
    expected = [naive.frame_iou(a, b) for a, b in zip(logits, masks, strict=True) if b.any()]
    assert scores(WHOLE)["nonempty"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_any_batching_and_order_gives_the_same_value():
    whole = scores(WHOLE)
    order = list(range(CLIPS))
    random.Random(1).shuffle(order)
    assert scores([[i] for i in order]) == pytest.approx(whole, abs=1e-9)
    # two clips come twice
    assert scores([order[:3], order[3:], order[:2]]) == pytest.approx(whole, abs=1e-9)


def test_no_update_is_an_error():
    with (
        pytest.raises(ValueError, match="no clip"),
        pytest.warns(UserWarning, match="before the ``update``"),
    ):
        PerClipProtocol().compute()


def _worker(rank: int, shares: list[list[list[list[int]]]], folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    Path(folder, f"{rank}.json").write_text(json.dumps([scores(share[rank]) for share in shares]))
    dist.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path):
    """Clips shared as a distributed sampler does, the first one handed out twice; then one process stays idle."""
    shares = [[[[0, 2], [4, 6]], [[1, 3], [5, 0]]], [WHOLE, []]]
    mp.start_processes(_worker, (shares, str(tmp_path)), nprocs=2, start_method="fork")
    one = scores(WHOLE)
    for rank in range(2):
        for both in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert both == pytest.approx(one, abs=1e-9)


def summed(places: range) -> list[float]:
    """Scores that keep sums, of these places one by one; those beyond the end are clips that come again."""
    logits, masks = clips()
    semantic, calibration = SemanticProtocol(num_classes=2), CalibrationError()
    for place in places:
        clip, first = slice(place % CLIPS, place % CLIPS + 1), place < CLIPS
        classes = torch.stack([-logits[clip, :, 0], logits[clip, :, 0]], dim=2)
        semantic.update(classes, masks[clip, :, 0].long(), torch.full((1, FRAMES), first))
        if first:
            calibration.update(logits[clip].flatten(0, 1), masks[clip].flatten(0, 1))
    return [*semantic.compute(), float(calibration.compute())]


def _summing_worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    Path(folder, f"{rank}.json").write_text(json.dumps(summed(range(rank, CLIPS + 1, 2))))
    dist.destroy_process_group()


def test_sums_of_two_processes_agree_with_one(tmp_path):
    """Seven clips on two processes: one comes twice, marked as invalid the second time."""
    mp.start_processes(_summing_worker, (str(tmp_path),), nprocs=2, start_method="fork")
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(
            summed(range(CLIPS)), abs=1e-9
        )
