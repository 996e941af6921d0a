"""IoU and F-measure against the released code's numbers and against plain loops."""

import json
import time
from pathlib import Path

import naive
import pytest
import reference_inputs
import torch

from ecmvae.errors import UserError
from ecmvae.metrics.functional import (
    _passed,
    avsbench_fscore,
    avsbench_fscore_curve,
    avsbench_iou,
    threshold_counts,
)

REFERENCE = Path(__file__).parents[1] / "reference"

KNOWN = json.loads((REFERENCE / "metrics.json").read_text())


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    logits, masks = reference_inputs.metric_case(seed)
    return torch.from_numpy(logits), torch.from_numpy(masks)


@pytest.mark.parametrize("seed", range(5))
def test_released_values(seed):
    logits, masks = case(seed)
    known = KNOWN["cases"][str(seed)]
    iou, curve = avsbench_iou(logits, masks), avsbench_fscore_curve(logits, masks)
    torch.testing.assert_close(iou, torch.tensor(known["mask_iou_frame"]), atol=1e-6, rtol=0)
    assert iou.mean().item() == pytest.approx(known["mask_iou"], abs=1e-6)
    assert avsbench_fscore(logits, masks).item() == pytest.approx(known["fmeasure"], abs=1e-6)
    best = curve.nan_to_num(0).amax(dim=1)
    torch.testing.assert_close(best, torch.tensor(known["fmeasure_frame"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_released_precision_and_recall(seed):
    logits, masks = case(seed)
    known = KNOWN["cases"][str(seed)]
    hits, predicted, positives = threshold_counts(logits, masks)
    some = [0, 64, 127, 190, 254]
    precision = hits[0, some] / (predicted[0, some] + 1e-20)
    torch.testing.assert_close(precision, torch.tensor(known["prec_frame0"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        hits[0, some] / positives[0], torch.tensor(known["recall_frame0"]), atol=1e-6, rtol=0
    )


def test_released_values_of_a_batch_of_four_clips():
    logits, masks = (
        torch.cat(parts) for parts in zip(*(case(seed) for seed in range(4)), strict=True)
    )
    known = KNOWN["cat_seeds_0_to_3"]
    assert avsbench_iou(logits, masks).mean().item() == pytest.approx(known["mask_iou"], abs=1e-6)
    assert avsbench_fscore(logits, masks).item() == pytest.approx(known["fmeasure"], abs=1e-6)


@pytest.mark.parametrize("seed", [5, 6, 7, 8, 9])
def test_equal_to_plain_loops(seed):
    logits, masks = case(seed)
    small = (logits[:, ::3, ::3].contiguous(), masks[:, ::3, ::3].contiguous())
    curve, iou = avsbench_fscore_curve(*small), avsbench_iou(*small)
    for n in range(len(small[0])):
        assert iou[n].item() == pytest.approx(naive.frame_iou(small[0][n], small[1][n]), abs=1e-6)
        if small[1][n].any():
            expected = torch.from_numpy(naive.frame_curve(small[0][n], small[1][n])).float()
            torch.testing.assert_close(curve[n], expected, atol=1e-6, rtol=0)
        else:
            assert curve[n].isnan().all()
    assert avsbench_fscore(*small).item() == pytest.approx(naive.batch_fscore(*small), abs=1e-6)


def test_logits_on_the_thresholds_themselves():
    """A probability equal to a threshold counts as predicted; one step below does not."""
    thresholds = torch.linspace(0, 1 - 1e-10, 255)
    logits = torch.special.logit(thresholds).reshape(1, 15, 17)
    target = torch.ones_like(logits)
    expected = torch.from_numpy(naive.frame_curve(logits[0], target[0])).float()
    torch.testing.assert_close(
        avsbench_fscore_curve(logits, target)[0], expected, atol=1e-6, rtol=0
    )


def test_probabilities_next_to_the_thresholds():
    """One float below a threshold does not pass it, one above does."""
    thresholds = torch.linspace(0, 1 - 1e-10, 255)
    up, down = (torch.nextafter(thresholds, torch.tensor(end)).clamp(0, 1) for end in (2.0, -1.0))
    probability = torch.cat([thresholds, up, down, torch.rand(10_000)])[None]
    assert torch.equal(
        _passed(probability), torch.bucketize(probability, thresholds, right=True, out_int32=True)
    )


def test_channel_dimension_and_dtypes_do_not_matter():
    logits, masks = case(1)
    expected = avsbench_iou(logits, masks), avsbench_fscore(logits, masks)
    assert torch.equal(avsbench_iou(logits[:, None], masks), expected[0])
    for target in (masks[:, None].bool(), masks[:, None].long(), masks[:, None].double()):
        assert torch.equal(avsbench_iou(logits[:, None], target), expected[0])
        assert torch.equal(avsbench_fscore(logits[:, None], target), expected[1])
    halves = logits.bfloat16()
    assert torch.equal(avsbench_iou(halves, masks), avsbench_iou(halves.float(), masks))


def test_all_empty_batch_scores_zero():
    logits = torch.randn(3, 8, 8)
    assert avsbench_fscore(logits, torch.zeros(3, 8, 8)).item() == 0.0


def test_refuses_nan_soft_targets_and_unequal_shapes():
    logits, target = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    with pytest.raises(UserError, match="NaN"):
        avsbench_iou(logits * torch.nan, target)
    with pytest.raises(ValueError, match="only 0 and 1"):
        avsbench_fscore(logits, target * 0.882)
    # in tests jaxtyping is first to see it
    with pytest.raises((ValueError, TypeError), match=r"same shape|2,4,4"):
        avsbench_iou(logits, torch.ones(2, 4, 4))


def test_ten_times_faster_than_255_passes():
    """The same arithmetic as 255 vectorised passes over each frame, at least ten times faster."""
    logits, masks = (
        torch.cat(parts) for parts in zip(*(case(seed) for seed in range(2)), strict=True)
    )

    def passes() -> torch.Tensor:
        probability = torch.sigmoid(logits)
        curves = []
        for frame, truth in zip(probability, masks, strict=True):
            precision, recall = torch.zeros(255), torch.zeros(255)
            for j, threshold in enumerate(torch.linspace(0, 1 - 1e-10, 255)):
                predicted = (frame >= threshold).float()
                hits = (predicted * truth).sum()
                precision[j], recall[j] = (
                    hits / (predicted.sum() + 1e-20),
                    hits / (truth.sum() + 1e-20),
                )
            curves.append((1.3 * precision * recall / (0.3 * precision + recall)).nan_to_num(0))
        return torch.stack(curves)

    seconds = {}
    values = {}
    for name, function in (
        ("loop", passes),
        ("histogram", lambda: avsbench_fscore_curve(logits, masks)),
    ):
        best = float("inf")
        for _ in range(1 if name == "loop" else 3):
            start = time.perf_counter()
            values[name] = function()
            best = min(best, time.perf_counter() - start)
        seconds[name] = best
    torch.testing.assert_close(values["histogram"].nan_to_num(0), values["loop"], atol=1e-6, rtol=0)
    assert seconds["loop"] > 10 * seconds["histogram"], seconds
