"""Disentanglement scores against loops written from the papers, and on codes whose answer is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from ecmvae.vae import disentanglement
from ecmvae.vae.classic import forest_importances
from ecmvae.vae.disentanglement import (
    beta_vae_score,
    dci,
    disentanglement_report,
    factor_vae_score,
    importance_scores,
    mutual_information_gap,
    separated_attribute_predictability,
    threshold_accuracy,
)


def factors_of(count=1500, sizes=(3, 4, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], 1)


@pytest.fixture
def perfect():
    """Each factor in one dimension of its own, scaled and in another order, with a little noise; one dead dimension."""
    factors = factors_of()
    codes = torch.cat(
        [factors[:, [2, 0, 1]] * torch.tensor([1.0, -2.0, 0.5]), torch.zeros(len(factors), 1)], 1
    )
    return codes + 0.01 * torch.randn(
        codes.shape, generator=torch.Generator().manual_seed(1)
    ), factors


@pytest.fixture
def noise():
    factors = factors_of(2000)
    return torch.randn(2000, 4, generator=torch.Generator().manual_seed(2)), factors


@pytest.fixture
def entangled():
    """A rotation of the factors: every dimension carries several."""
    factors = factors_of(sizes=(3, 4))
    turn = torch.tensor([[1.0, 0.5], [-0.5, 1.0]])
    return factors.float() @ turn + 0.05 * torch.randn(
        len(factors), 2, generator=torch.Generator().manual_seed(3)
    ), factors


def test_a_perfect_code_scores_1(perfect):
    codes, factors = perfect
    report = disentanglement_report(codes, factors).named()
    # the dead dimension is noise, whose best thresholds and estimated mutual information are a little above chance
    assert report.pop("sap") == pytest.approx(1.0, abs=0.08)
    assert report == pytest.approx(dict.fromkeys(report, 1.0), abs=0.02)


def test_noise_scores_0_or_chance(noise):
    codes, factors = noise
    report = disentanglement_report(codes, factors)
    assert report.mig < 0.01
    assert report.sap < 0.03
    assert report.dci.disentanglement < 0.02
    assert report.dci.completeness < 0.02
    assert report.dci.informativeness == pytest.approx((1 / 3 + 1 / 4 + 1 / 5) / 3, abs=0.04)
    assert report.factor_vae == pytest.approx(1 / 3, abs=0.08)
    assert report.beta_vae == pytest.approx(1 / 3, abs=0.08)


def test_entangled_codes_score_between(entangled):
    report = disentanglement_report(*entangled)
    for score in (report.mig, report.sap, report.dci.disentanglement, report.dci.completeness):
        assert 0.02 < score < 0.8
    assert report.dci.informativeness > 0.9


def test_mig_by_brute_force(entangled):
    codes, factors = entangled
    gaps = []
    for v in factors.T.numpy():
        informations = []
        for z in codes.T.double().numpy():
            edges = np.linspace(z.min(), z.max(), 21)[1:-1]
            informations.append(mutual_info_score(np.digitize(z, edges), v))
        second, first = sorted(informations)[-2:]
        shares = [np.mean(v == value) for value in set(v.tolist())]
        gaps.append((first - second) / -sum(p * math.log(p) for p in shares))
    assert mutual_information_gap(codes, factors) == pytest.approx(np.mean(gaps), abs=0.002)


def test_thresholds_are_the_best_of_all():
    generator = np.random.default_rng(4)
    for classes in (2, 3):
        z, v = generator.normal(size=14), np.arange(14) % classes
        z[v == 1] += 0.8
        edges = [-math.inf, *sorted(z)]
        best = 0.0
        for cuts in itertools.combinations_with_replacement(edges, classes - 1):
            interval = sum((z > cut).astype(int) for cut in cuts)
            for labels in itertools.product(range(classes), repeat=classes):
                predicted = np.array(labels)[interval]
                best = max(best, np.mean([np.mean(predicted[v == c] == c) for c in range(classes)]))
        assert threshold_accuracy(torch.from_numpy(z), torch.from_numpy(v)).item() == pytest.approx(
            best, abs=1e-12
        )


def test_sap_by_hand():
    """One dimension tells the factor, another one is right three times in four: gap (1 - .75) / (1 - .5)."""
    v = torch.arange(2).repeat(8)
    z = torch.stack(
        [v.float(), torch.where(torch.arange(16) % 8 < 2, 1 - v, v).float(), torch.zeros(16)], 1
    )
    assert separated_attribute_predictability(z, v[:, None]) == pytest.approx(0.5)


def test_dci_by_brute_force(entangled):
    codes, factors = entangled
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(5))
    test, train = order[: len(codes) // 4], order[len(codes) // 4 :]
    table = np.zeros((2, 2))
    for k in range(2):
        x, v = codes.numpy(), factors[:, k].numpy()
        table[:, k] = forest_importances(x[train], v[train], x[test], v[test], 5)[0]
    disentangled = complete = 0.0
    for i in range(2):
        p = table[i] / table[i].sum()
        disentangled += (
            table[i].sum() / table.sum() * (1 + sum(each * math.log(each, 2) for each in p))
        )
        p = table[:, i] / table[:, i].sum()
        complete += (
            table[:, i].sum() / table.sum() * (1 + sum(each * math.log(each, 2) for each in p))
        )
    found = dci(codes, factors, seed=5)
    assert found.disentanglement == pytest.approx(disentangled, abs=1e-9)
    assert found.completeness == pytest.approx(complete, abs=1e-9)


@pytest.mark.parametrize(
    ("table", "scores"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], (1.0, 1.0)),
        ([[0.5, 0.5], [0.5, 0.5]], (0.0, 0.0)),
        ([[1.0, 1.0], [0.0, 0.0]], (0.0, 1.0)),  # one dimension for both factors
        (
            [[0.5, 0.0], [0.5, 0.0], [0.0, 1.0]],
            (1.0, 0.5 * (1 - math.log(2, 3)) + 0.5),
        ),  # two dimensions for one factor
    ],
)
def test_importances_known_answers(table, scores):
    assert importance_scores(torch.tensor(table, dtype=torch.float64)) == pytest.approx(
        scores, abs=1e-7
    )


def test_factor_vae_score_by_brute_force(entangled):
    """An independent vote with numpy's draws: the same number up to sampling."""
    codes, factors = (each.numpy() for each in entangled)
    random, votes = np.random.default_rng(0), []
    for _ in range(1500):
        k = random.integers(2)
        rows = np.flatnonzero(factors[:, k] == factors[random.integers(len(factors)), k])
        variance = codes[random.choice(rows, 64)].var(0, ddof=1) / codes.var(0, ddof=1)
        votes.append((variance.argmin(), k))
    right = sum(max(votes.count((d, k)) for k in range(2)) for d in range(2)) / len(votes)
    assert factor_vae_score(*entangled, votes=1500) == pytest.approx(right, abs=0.04)


def test_beta_vae_score_reads_pairs_that_share_the_factor(monkeypatch, perfect):
    """In a perfect code the shared factor's dimension has no difference, in every training row."""
    codes, factors = perfect
    seen = {}

    def classifier(x, labels, seed):
        seen["x"], seen["labels"] = x, labels
        return lambda rows: np.zeros(len(rows), dtype=int)

    monkeypatch.setattr(disentanglement, "linear_classifier", classifier)
    assert beta_vae_score(codes, factors, points=300) == pytest.approx(1 / 3, abs=0.01)
    dimension = np.array([1, 2, 0])  # of factors 0, 1, 2
    assert (seen["x"][:, :3].argmin(1) == dimension[seen["labels"]]).mean() > 0.95


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(4, 2, dtype=torch.long), "5 codes and 4 rows"),
        (torch.rand(5, 2), torch.zeros(5, 1, dtype=torch.long), "factor 0 has one value only"),
        (torch.rand(5, 1), torch.arange(5)[:, None], "at least 2 of them"),
        (torch.full((5, 2), math.nan), torch.arange(5)[:, None], "NaN"),
    ],
)
def test_bad_input_says_what_to_do(codes, factors, message):
    with pytest.raises(ValueError, match=message):
        disentanglement_report(codes, factors)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [4, 5, 12])
def test_dci_of_few_samples_or_collapsed_codes(count: int) -> None:
    factors = torch.stack([torch.arange(count) % 2, torch.arange(count) % 3], 1)
    for codes in (torch.randn(count, 3), torch.zeros(count, 3)):
        found = dci(codes, factors)
        assert 0 <= min(found.disentanglement, found.completeness, found.informativeness) <= 1
