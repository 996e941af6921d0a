import json
import math
from pathlib import Path

import torch

from ecmvae.losses.latent import (
    MutualInformationBound,
    cross_covariance,
    info_nce,
    orthogonality_loss,
)
from ecmvae.models.fusion import Match

KNOWN = json.loads(
    (Path(__file__).parents[1] / "reference" / "vae" / "difference_loss.json").read_text()
)


def test_orthogonality_against_known_answers() -> None:
    for case in KNOWN["cases"]:
        a, b = (torch.tensor(case[name], dtype=torch.float64) for name in "ab")
        assert math.isclose(
            orthogonality_loss(a, b).item(), case["frobenius_version"], abs_tol=KNOWN["tol"]
        )
        assert math.isclose(
            cross_covariance(a, b).square().mean().item(),
            case["mean_version"],
            abs_tol=KNOWN["tol"],
        )


def test_unrelated_codes_are_orthogonal_and_equal_ones_are_not() -> None:
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    b = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    assert orthogonality_loss(a, b) == 0
    assert orthogonality_loss(a, a) > 1


def test_bound_is_the_gaussian_log_density() -> None:
    bound = MutualInformationBound(4, 3).double()
    visual, audio = torch.randn(7, 4).double(), torch.randn(7, 4).double()
    mean, logvar, target = (
        torch.tanh(layer(x))
        for layer, x in ((bound.mean, visual), (bound.logvar, visual), (bound.target, audio))
    )
    density = torch.distributions.Normal(mean, (0.5 * logvar).exp()).log_prob(target).sum(1).mean()
    torch.testing.assert_close(bound(visual, audio), density)


def test_training_the_bound_finds_the_dependence_and_cannot_collapse_the_target() -> None:
    """On equal codes it reaches the ceiling that log-variance >= -1 sets, on independent ones it cannot."""
    reached = {}
    for related in (True, False):
        torch.manual_seed(1)
        bound = MutualInformationBound(4, 2)
        before = bound.target.weight.clone()
        optimiser = torch.optim.Adam([p for p in bound.parameters() if p.requires_grad], 0.02)
        for _ in range(300):
            visual = torch.randn(256, 4)
            audio = visual if related else torch.randn(256, 4)
            optimiser.zero_grad()
            (-bound(visual, audio)).backward()
            optimiser.step()
        assert torch.equal(bound.target.weight, before)
        reached[related] = bound(visual, audio).item()
    ceiling = 2 * -0.5 * (math.log(2 * math.pi) - 1)
    assert ceiling - 0.1 < reached[True] <= ceiling
    assert reached[False] < ceiling - 0.2


def test_the_released_form_lets_the_target_train() -> None:
    bound = MutualInformationBound(4, 2, fixed_target=False)
    audio = torch.randn(5, 4, requires_grad=True)
    bound(torch.randn(5, 4), audio).backward()
    assert audio.grad is not None
    assert bound.target.weight.grad is not None


def test_match_loss_written_out() -> None:
    """Two clips of two frames; the last frame is silent. Frame by frame, with the other second of a clip left out."""
    keys = torch.nn.functional.normalize(torch.randn(4, 6, 2, 2), dim=1)
    queries = 10 * torch.nn.functional.normalize(torch.randn(4, 6), dim=1)
    masks = torch.zeros(4, 1, 4, 4)
    masks[0, 0, :2, :2] = 1  # one cell of the 2x2 map
    masks[1, 0, :, :2] = 1  # two cells
    masks[2, 0, 2:, 2:] = 1
    clips = torch.tensor([0, 0, 1, 1])
    got = info_nce([Match(keys, queries, torch.zeros(4, 1, 2, 2))], masks, clips)
    seen = [keys[0, :, 0, 0], (keys[1, :, 0, 0] + keys[1, :, 1, 0]), keys[2, :, 1, 1]]
    rivals = {0: [0, 2], 1: [1, 2], 2: [2, 0, 1]}
    losses = []
    for i, others in rivals.items():
        key = seen[i] / seen[i].norm()
        scores = torch.stack([key @ queries[j] for j in others])
        losses.append(scores.logsumexp(0) - scores[0])
    torch.testing.assert_close(got, torch.stack(losses).mean())


def test_match_loss_of_a_silent_batch_is_zero() -> None:
    match = Match(torch.randn(2, 3, 2, 2), torch.randn(2, 3), torch.zeros(2, 1, 2, 2))
    assert info_nce([match], torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])) == 0
