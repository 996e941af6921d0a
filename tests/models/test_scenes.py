"""What is found and what is heard, put together."""

import torch

from ecmvae.models.scenes import INAUDIBLE, combine


def test_the_formula_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 6, 6, generator=generator)
    concepts = torch.tensor([2, 0, 2, 1, 0])
    activity = torch.tensor([0.9, INAUDIBLE / 2, 0.4])  # the second concept is not audible
    probability, classes, numbers = combine(masks, concepts, activity)
    for row in range(6):
        for column in range(6):
            first = max(masks[1, row, column], masks[4, row, column]) * 0.9
            third = max(masks[0, row, column], masks[2, row, column]) * 0.4
            torch.testing.assert_close(probability[row, column], 1 - (1 - first) * (1 - third))
            best = max(
                (0, 1, 2, 4), key=lambda i: float(activity[concepts[i]] * masks[i, row, column])
            )
            assert numbers[row, column] == best + 1
            assert classes[row, column] == concepts[best] + 1


def test_nothing_where_nothing_is_audible_or_found() -> None:
    for masks, concepts in ((torch.ones(1, 4, 4), [0]), (torch.ones(0, 4, 4), [])):
        for answer in combine(masks, torch.tensor(concepts, dtype=torch.int64), torch.zeros(1)):
            assert answer.shape == (4, 4)
            assert not answer.any()
