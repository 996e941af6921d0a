"""Right-of-two on frames whose answer is written down by hand."""

import pytest
import torch

from ecmvae.metrics import RightOfTwo
from ecmvae.metrics.right_of_two import right_of_two


def frame(*values: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects 1, 2, ... are the columns of a 2-row frame with these probabilities; column 0 is background."""
    columns = torch.tensor([0.9, *values])
    logits = torch.logit(columns).expand(1, 2, -1).contiguous()
    objects = torch.arange(len(columns)).expand(1, 2, -1).contiguous()
    return logits, objects


@pytest.mark.parametrize(
    ("values", "sounding", "expected"),
    [
        ((0.8, 0.3), (True, False), 1.0),
        ((0.3, 0.8), (True, False), 0.0),
        ((0.1, 0.2), (False, True), 1.0),  # both below the threshold: only the order counts
        ((0.5, 0.5), (True, False), 0.0),  # a tie is not right
        ((0.5, 0.9, 0.1), (True, False, False), 0.5),  # beats one of two silent objects
        ((0.9, 0.1, 0.8), (True, False, True), None),  # two sound
        ((0.9, 0.1), (False, False), None),  # nobody sounds
        ((0.9, 0.1), (True, True), None),  # nobody is silent
        ((0.9,), (True,), None),  # one visible object
    ],
)
def test_by_hand(values, sounding, expected):
    score = right_of_two(*frame(*values), torch.tensor([sounding]))
    assert score.isnan().all() if expected is None else score.tolist() == [expected]


def test_hidden_objects_do_not_count():
    logits, objects = frame(0.2, 0.9)
    objects[objects == 2] = 0  # the silent object is covered
    assert right_of_two(logits, objects, torch.tensor([[True, False]])).isnan().all()
    objects[:] = 0
    assert right_of_two(logits, objects, torch.tensor([[True, False]])).isnan().all()


def test_mean_over_visible_pixels():
    """One bright pixel on a large dim object must not win."""
    logits = torch.full((1, 1, 6), -4.0)
    # object 1 has mean (1 + 4 * .018) / 5 = .21, object 2 has .5
    logits[0, 0, 0], logits[0, 0, 5] = (9.0, 0.0)
    objects = torch.tensor([[[1, 1, 1, 1, 1, 2]]])
    assert right_of_two(logits, objects, torch.tensor([[False, True]])).tolist() == [1.0]


def test_metric_averages_scored_frames():
    good, bad, silent = frame(0.8, 0.3), frame(0.3, 0.8), frame(0.8, 0.3)
    logits = torch.stack([good[0], bad[0], silent[0]], dim=1)[:, :, None]  # (1, 3, 1, 2, 3)
    objects = torch.stack([good[1], bad[1], silent[1]], dim=1)
    sounding = torch.tensor([[[True, False], [True, False], [False, False]]])
    metric = RightOfTwo()
    metric.update(logits, objects, sounding, torch.tensor([0]))
    assert metric.compute() == 0.5
    metric.update(logits[:, :1], objects[:, :1], sounding[:, :1], torch.tensor([1]))
    assert metric.compute() == pytest.approx(2 / 3)


def test_refuses_more_objects_than_columns():
    logits, objects = frame(0.8, 0.3)
    with pytest.raises(ValueError, match="only 1 columns"):
        right_of_two(logits, objects, torch.tensor([[True]]))
