"""Disentanglement scores: does each latent dimension follow one known factor, and each factor one dimension?

All take codes (n, L), best the posterior's means, and factors (n, K): whole numbers, one column for each factor such as
shape, colour or size. All are between 0 and 1, higher is better.

MIG: Chen et al., "Isolating sources of disentanglement in VAEs", 2018 (arXiv:1802.04942). SAP: Kumar et al., "DIP-VAE",
2018 (arXiv:1711.00848). DCI: Eastwood & Williams, "A framework for the quantitative evaluation of disentangled
representations", 2018. FactorVAE score: Kim & Mnih, 2018 (arXiv:1802.05983). beta-VAE score: Higgins et al., 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ecmvae.vae.classic import forest_importances, linear_classifier
from ecmvae.vae.gaussian import check_count

COLLAPSED = 1e-6
"""A dimension whose standard deviation is below this share of the largest one takes no part in the FactorVAE score."""


@dataclass(frozen=True, kw_only=True)
class DCI:
    """The three scores of Eastwood & Williams.

    Attributes:
        disentanglement: 1 where each dimension is important for one factor only.
        completeness: 1 where each factor is predicted from one dimension only.
        informativeness: Balanced share of the held-out factors that the predictor gets right.
    """

    disentanglement: float
    completeness: float
    informativeness: float


@dataclass(frozen=True, kw_only=True)
class DisentanglementReport:
    """Every score of this file on one table of codes and factors."""

    mig: float
    sap: float
    dci: DCI
    factor_vae: float
    beta_vae: float

    def named(self) -> dict[str, float]:
        """The scores as one flat table."""
        dci = {f"dci_{name}": value for name, value in vars(self.dci).items()}
        return {
            "mig": self.mig,
            "sap": self.sap,
            **dci,
            "factor_vae": self.factor_vae,
            "beta_vae": self.beta_vae,
        }


def disentanglement_report(
    codes: Float[Tensor, "n l"], factors: Int[Tensor, "m k"], *, seed: int = 0
) -> DisentanglementReport:
    """All scores with their default settings; `seed` draws the splits and the votes.

    Raises:
        ValueError: As the scores.
    """
    return DisentanglementReport(
        mig=mutual_information_gap(codes, factors),
        sap=separated_attribute_predictability(codes, factors),
        dci=dci(codes, factors, seed=seed),
        factor_vae=factor_vae_score(codes, factors, seed=seed),
        beta_vae=beta_vae_score(codes, factors, seed=seed),
    )


def mutual_information_table(
    codes: Float[Tensor, "n l"], factors: Int[Tensor, "m k"], bins: int = 20
) -> tuple[Float[Tensor, "l k"], Float[Tensor, " k"]]:
    """I(z_l; v_k) of codes in `bins` equal bins of their range, and the entropy H(v_k), in nats."""
    columns = _checked(codes, factors)
    binned = torch.stack(
        [_binned(column, check_count(bins, "bins")) for column in codes.double().T]
    )
    table = torch.stack(
        [torch.stack([_mutual_information(z, bins, v) for v in columns]) for z in binned]
    )
    return table, torch.stack([_entropy(torch.bincount(v).double() / len(v)) for v in columns])


def mutual_information_gap(
    codes: Float[Tensor, "n l"], factors: Int[Tensor, "m k"], *, bins: int = 20
) -> float:
    """MIG: mean over the factors of (I(z_first; v) - I(z_second; v)) / H(v), the two most informative dimensions.

    Raises:
        ValueError: With fewer than two dimensions, or a factor of one value only.
    """
    _at_least_two(codes)
    table, entropies = mutual_information_table(codes, factors, bins)
    best = table.topk(2, 0).values
    return float(((best[0] - best[1]) / entropies).mean())


def separated_attribute_predictability(
    codes: Float[Tensor, "n l"], factors: Int[Tensor, "m k"], *, candidates: int = 100
) -> float:
    """SAP: mean over the factors of the gap between the two dimensions that predict it best, each on its own.

    A dimension predicts a factor of C values by C - 1 thresholds, those of the best balanced accuracy, which is scaled
    so that chance, 1 / C, is 0. The thresholds are found exactly, among `candidates` quantiles of the codes.

    Raises:
        ValueError: As `mutual_information_gap`.
    """
    _at_least_two(codes)
    gaps = []
    for v in _checked(codes, factors):
        scores = torch.stack([threshold_accuracy(z, v, candidates) for z in codes.double().T])
        best = scores.topk(2).values
        gaps.append((best[0] - best[1]) / (1.0 - 1.0 / (int(v.max()) + 1)))
    return float(torch.stack(gaps).mean())


def threshold_accuracy(
    z: Float[Tensor, " n"], v: Int[Tensor, " n"], candidates: int = 100
) -> Float[Tensor, ""]:
    """Best balanced accuracy of a classifier that cuts the line into as many intervals as `v` has values, at most."""
    classes, v = torch.unique(v, return_inverse=True)
    edges = torch.unique(z)
    if len(edges) > candidates:
        edges = torch.unique(
            torch.quantile(z, torch.linspace(0, 1, candidates + 1, dtype=z.dtype)[1:])
        )
    counts = torch.zeros(len(edges), len(classes), dtype=torch.float64)
    cell = torch.searchsorted(edges, z.contiguous())  # z lies in (edges[cell - 1], edges[cell]]
    counts.index_put_((cell, v), torch.ones(len(z), dtype=torch.float64), accumulate=True)
    share = counts / counts.sum(0) / len(classes)
    until = torch.cat([share.new_zeros(1, len(classes)), share.cumsum(0)])
    # (from, to): what the best single class of an interval earns
    gain = (until[None] - until[:, None]).amax(-1)
    gain = gain.masked_fill(torch.ones_like(gain, dtype=torch.bool).tril(-1), -torch.inf)
    best = gain[0]
    for _ in range(len(classes) - 1):
        best = (best[:, None] + gain).amax(0)
    return best[-1]


def dci(
    codes: Float[Tensor, "n l"],
    factors: Int[Tensor, "m k"],
    *,
    seed: int = 0,
    test_share: float = 0.25,
    trees: int = 50,
) -> DCI:
    """Disentanglement, completeness and informativeness from a random forest for each factor.

    R[l, k] is how important dimension l is to the forest of factor k. Row l, normalised, has the entropy H_K to base K:
    disentanglement is the mean of 1 - H_K(row), weighted by the row's share of R; completeness the same of columns.

    Raises:
        ValueError: With one dimension or factor only, a factor of one value, or too few samples to hold some out.
    """
    columns = _checked(codes, factors)
    if codes.shape[1] < 2 or len(columns) < 2:
        raise ValueError("DCI compares dimensions and factors: give at least two of each")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    held_out = int(len(codes) * test_share)
    if held_out < 1 or held_out >= len(codes):
        raise ValueError(
            f"test_share {test_share} of {len(codes)} samples leaves nothing to train on or to test"
        )
    test, train = order[:held_out].numpy(), order[held_out:].numpy()
    x = codes.numpy(force=True)
    found = [
        forest_importances(x[train], v[train], x[test], v[test], seed=seed, trees=trees)
        for v in (column.numpy() for column in columns)
    ]
    importances = torch.stack([torch.from_numpy(each) for each, _ in found], 1).double()  # (L, K)
    disentanglement, completeness = importance_scores(importances)
    return DCI(
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=sum(accuracy for _, accuracy in found) / len(found),
    )


def importance_scores(importances: Float[Tensor, "l k"]) -> tuple[float, float]:
    """Disentanglement and completeness of a table of importances R >= 0."""
    scores = []
    for table in (importances, importances.T):
        mass = table.sum(1)
        rows = table[mass > 0] / mass[mass > 0, None]
        order = 1.0 - torch.special.entr(rows).sum(1) / math.log(table.shape[1])
        scores.append(float((order * mass[mass > 0]).sum() / mass.sum()) if mass.sum() > 0 else 0.0)
    return scores[0], scores[1]


def factor_vae_score(
    codes: Float[Tensor, "n l"],
    factors: Int[Tensor, "m k"],
    *,
    votes: int = 800,
    batch: int = 64,
    seed: int = 0,
) -> float:
    """Accuracy of a majority vote: which factor was held fixed, told from the dimension that varies least.

    Half of the votes set the majority, the other half is scored. A vote fixes one factor, draws `batch` samples with
    that value (with replacement) and names the dimension of least variance relative to its variance over all codes.

    Raises:
        ValueError: For a factor of one value only, or counts below 1.
    """
    columns, generator = _checked(codes, factors), torch.Generator().manual_seed(seed)
    check_count(votes, "votes")
    check_count(batch - 1, "batch - 1")
    z = codes.detach().double().cpu()
    spread = z.std(0)
    kept = (spread > COLLAPSED * spread.max()).nonzero()[:, 0]
    if not len(kept):
        return 1.0 / len(columns)  # every dimension is constant: the vote is a guess
    z = z[:, kept] / spread[kept]
    counts = torch.zeros(2, len(kept), len(columns))
    for number in range(2 * votes):
        factor = int(torch.randint(len(columns), (1,), generator=generator))
        rows = _rows_of_one_value(columns[factor], batch, generator)
        counts[number % 2, int(z[rows].var(0).argmin()), factor] += 1
    named = counts[0].argmax(1)
    return float(counts[1, torch.arange(len(kept)), named].sum() / counts[1].sum())


def beta_vae_score(
    codes: Float[Tensor, "n l"],
    factors: Int[Tensor, "m k"],
    *,
    points: int = 800,
    batch: int = 64,
    seed: int = 0,
) -> float:
    """Accuracy of a linear classifier: which factor do the two samples of each pair share?

    A point is the mean of |z_a - z_b| over `batch` pairs that agree in one factor; half of the points train the
    classifier, the other half is scored.

    Raises:
        ValueError: As `factor_vae_score`.
    """
    columns, generator = _checked(codes, factors), torch.Generator().manual_seed(seed)
    check_count(points, "points")
    check_count(batch, "batch")
    z = codes.detach().double().cpu()
    chosen = torch.arange(2 * points) % len(columns)
    partners = [_Partners(v, generator) for v in columns]
    rows = []
    for factor in chosen.tolist():
        first = torch.randint(len(z), (batch,), generator=generator)
        rows.append((z[first] - z[partners[factor](first)]).abs().mean(0))
    features = torch.stack(rows)
    features = (features - features[:points].mean(0)) / features[:points].std(0).clamp_min(1e-12)
    predict = linear_classifier(features[:points].numpy(), chosen[:points].numpy(), seed)
    return float(
        (torch.from_numpy(predict(features[points:].numpy())) == chosen[points:]).double().mean()
    )


class _Partners:
    """For rows of the table, random rows with the same value of one factor."""

    def __init__(self, v: Tensor, generator: torch.Generator) -> None:
        self.generator, self.order = generator, v.argsort(stable=True)
        counts = torch.bincount(v)
        self.start, self.count, self.value = counts.cumsum(0) - counts, counts, v

    def __call__(self, rows: Tensor) -> Tensor:
        values = self.value[rows]
        offset = (
            torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
            * self.count[values]
        ).long()
        return self.order[self.start[values] + offset]


def _rows_of_one_value(v: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` rows, with replacement, that share the factor's value with a random row."""
    value = v[torch.randint(len(v), (1,), generator=generator)]
    rows = (v == value).nonzero()[:, 0]
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def _checked(codes: Tensor, factors: Tensor) -> list[Tensor]:
    """The factors as columns of 0, 1, ..."""
    if len(codes) != len(factors) or len(codes) < 2:
        raise ValueError(
            f"{len(codes)} codes and {len(factors)} rows of factors: give one row for each code, 2 at least"
        )
    if not torch.isfinite(codes).all():
        raise ValueError("the codes hold NaN or infinity")
    columns = [torch.unique(column, return_inverse=True)[1] for column in factors.cpu().T]
    for number, column in enumerate(columns):
        if column.max() == 0:
            raise ValueError(f"factor {number} has one value only: leave it out")
    return columns


def _at_least_two(codes: Tensor) -> None:
    if codes.shape[1] < 2:
        raise ValueError("a gap between dimensions needs at least 2 of them, got 1")


def _binned(z: Tensor, bins: int) -> Tensor:
    low, high = z.min(), z.max()
    return ((z - low) / (high - low).clamp_min(1e-300) * bins).long().clamp_max(bins - 1).cpu()


def _mutual_information(z: Tensor, bins: int, v: Tensor) -> Tensor:
    values = int(v.max()) + 1
    joint = torch.bincount(z * values + v, minlength=bins * values).double().view(
        bins, values
    ) / len(v)
    return _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint.flatten())


def _entropy(p: Tensor) -> Tensor:
    total: Tensor = torch.special.entr(p).sum()
    return total
