"""Scores of trained models: `ecmvae vae score | compare`. What is scored depends on what the model is.

`SCORERS` is the table: another score is another entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError
from ecmvae.files import show_path, write_json
from ecmvae.foreign_text import cut, read_json
from ecmvae.training.vae import draw_from
from ecmvae.training.vae_coherence import attribute_scores, coherence_scores
from ecmvae.training.vae_data import RunData, Samples, as_float
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.vae.latents import active_units
from ecmvae.vae.metrics import bound_report
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.vae import VAE

ENOUGH = 100
"""Test pictures below which disentanglement is scored only when it is asked for."""

CHUNK = 1000
"""Samples in memory as numbers at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreRequest:
    """What a scorer is given.

    Attributes:
        trained: The model.
        data: Its data.
        test: The test samples that are scored.
        num_samples: K, importance samples.
        images: How many pictures FID and its kin take.
        limit: Use only the first so many test samples; None is all.
        seed: Of all draws.
    """

    trained: TrainedVAE
    data: RunData
    test: Samples
    num_samples: int
    images: int
    limit: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One entry of the table.

    Attributes:
        applies: Whether it can score a model on its data.
        compute: The scores, by name.
        by_default: Whether it runs without being named.
    """

    applies: Callable[[ScoreRequest], bool]
    compute: Callable[[ScoreRequest], Mapping[str, Any]]
    by_default: Callable[[ScoreRequest], bool] = lambda _: True


def score_vae(
    run: str | Path | TrainedVAE,
    num_samples: int = 50,
    limit: int | None = None,
    seed: int = 0,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    images: int = 1000,
) -> dict[str, Any]:
    """Score a model on the test images and, where it is a run on this machine, write its score.json.

    Args:
        run: Its folder, or the loaded model.
        num_samples: K, importance samples.
        limit: Use only the first so many test images.
        seed: Of the draws.
        data: Other data than that of the run, such as ``folder:PATH``.
        metrics: Names of `SCORERS`; None is all that apply, but for quality, which takes minutes.
        images: How many pictures FID and its kin take.

    Raises:
        UserError: If the data cannot be read, or a metric is unknown or does not apply.
    """
    trained = run if isinstance(run, TrainedVAE) else TrainedVAE.from_pretrained(run)
    if unknown := [name for name in metrics or () if name not in SCORERS]:
        raise UserError(f"unknown metric {cut(unknown[0])!r}: choose from {', '.join(SCORERS)}")
    source = trained.data(data)
    test = source.samples("test")
    if not len(test):
        raise UserError(f"{source.source} has no test pictures: add some, or give other --data")
    test = test.take(slice(0, limit))
    request = ScoreRequest(
        trained=trained,
        data=source,
        test=test,
        num_samples=num_samples,
        images=images,
        limit=limit,
        seed=seed,
    )
    numbers: dict[str, Any] = {"test_images": len(test)}
    for name, scorer in SCORERS.items():
        wanted = name in metrics if metrics is not None else scorer.by_default(request)
        if not wanted:
            continue
        if not scorer.applies(request):
            if metrics is not None:
                raise UserError(
                    f"{name} does not apply to {trained.config.model.name} on {source.source}: leave it out"
                )
            continue
        torch.manual_seed(seed)
        try:
            numbers |= scorer.compute(request)
        except UserError:
            raise
        except ValueError as error:  # too few pictures
            if metrics is not None:
                raise UserError(f"{name}: {error}") from error
            numbers[f"{name}_left_out"] = str(error)
    if trained.folder is not None and data is None and (trained.folder / "history.json").is_file():
        write_json(trained.folder / "score.json", numbers)
    return numbers


def compare_runs(
    runs: Sequence[str], out: Path | None, *, trust_code: bool, **settings: Any
) -> tuple[str, dict[str, Any]]:
    """Score several runs in the same way.

    Args:
        runs: Their folders, or addresses of the hub.
        out: JSON file to write; None writes none.
        trust_code: See `TrainedVAE.from_pretrained`.
        settings: As of `score_vae`.

    Returns:
        A table with one column for each run, and the same as JSON.
    """
    rows: dict[str, dict[str, Any]] = {}
    sources, likelihoods = set(), set()
    for run in runs:
        trained = TrainedVAE.from_pretrained(run, trust_code=trust_code)
        rows[run] = _description(trained) | score_vae(trained, **settings)
        sources.add(rows[run]["data"])
        likelihoods.add(_likelihood(trained))
    notes = []
    if len(sources) > 1 and settings.get("data") is None:
        notes.append("the runs have different data: their scores do not compare")
    if len(likelihoods) > 1:
        notes.append(
            "the models have different likelihoods: their log-likelihoods and losses do not compare"
        )
    result = {"runs": rows, "notes": notes}
    if out is not None:
        write_json(out, result)
    return "\n".join([_table(rows), *(f"note: {note}" for note in notes)]), result


def _description(trained: TrainedVAE) -> dict[str, Any]:
    """What a run is, beside its scores."""
    data = trained.config.data
    described: dict[str, Any] = {
        "model": trained.config.model.name,
        "data": f"folder:{data.root}" if data.root else data.name,
        "latent_dim": trained.config.model.latent_dim,
        "parameters": sum(each.numel() for each in trained.model.parameters()),
    }
    history = trained.folder / "history.json" if trained.folder is not None else None
    if history is not None and history.is_file():
        epochs = read_json(history, 64_000_000)
        if isinstance(epochs, list):
            described["epochs"] = len(epochs)
    return described


def _likelihood(trained: TrainedVAE) -> str:
    model = trained.model
    likelihood = (
        model.likelihood(model.names[0]) if isinstance(model, MultimodalVAE) else model.likelihood
    )
    return f"{type(likelihood).__name__} {getattr(likelihood, 'logvar', '')}"


def _table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Scalars of all runs, one line a score."""
    flat = {run: {key: _short(each) for key, each in by_dotted_name(dict(row)).items() if not isinstance(each, list)}
            for run, row in rows.items()}  # fmt: skip
    keys = list(dict.fromkeys(key for row in flat.values() for key in row))
    names = [cut(show_path(Path(run)), 30) for run in rows]
    lines = [["", *names], *([key, *(row.get(key, "-") for row in flat.values())] for key in keys)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names) + 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cut(str(value), 40)


def _bounds(request: ScoreRequest) -> dict[str, Any]:
    """-ELBO, -IWAE(K), KL in all and by dimension, and active latents, in nats per sample."""
    trained, model, test = request.trained, request.trained.model, request.test
    assert isinstance(model, VAE)
    batch_size = max(
        1, min(100, 4_000_000 // (request.num_samples * prod(trained.facts.event_shape)))
    )
    totals: dict[str, float] = {}
    for start in range(0, len(test), CHUNK):
        part = as_float(test.images[start : start + CHUNK].to(trained.device))
        report = bound_report(model, part, num_samples=request.num_samples, batch_size=batch_size)
        for name, value in report.items():
            totals[name] = totals.get(name, 0.0) + value * len(part) / len(test)
    numbers: dict[str, Any] = dict(totals)
    numbers["active_units"] = (
        int(active_units(trained.encode(test)).sum()) if len(test) > 1 else None
    )
    numbers["latent_dim"] = model.latent_dim
    numbers["kl_per_dimension"] = _kl_table(trained, test)
    return numbers


@torch.no_grad()
def _kl_table(trained: TrainedVAE, test: Samples) -> list[float]:
    """KL of each latent dimension, where posterior and prior fall apart into dimensions; else nothing."""
    model, total = trained.model, 0.0
    assert isinstance(model, VAE)
    terms: Tensor | float = total
    for start in range(0, len(test), CHUNK):
        part = as_float(test.images[start : start + CHUNK].to(trained.device))
        each = model.prior.kl_terms(model.posterior(part))
        if each.shape[-1] != model.latent_dim:
            return []
        terms = terms + each.sum(0) / len(test)
    assert isinstance(terms, Tensor)
    return [round(value, 4) for value in terms.tolist()]


@torch.no_grad()
def _losses(request: ScoreRequest) -> dict[str, Any]:
    """The model's own terms, of models without a bound report."""
    trained, totals = request.trained, dict[str, float]()
    for start in range(0, len(request.test), CHUNK):
        part = request.test.take(slice(start, start + CHUNK))
        batch = trained.batch(part)
        output = (
            trained.model(batch)
            if isinstance(trained.model, MultimodalVAE)
            else trained.model(**batch)
        )
        for name, value in output.named().items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(part) / len(request.test)
    return dict(totals)


def _coherence(request: ScoreRequest) -> dict[str, Any]:
    model = request.trained.model
    assert isinstance(model, MultimodalVAE)
    return coherence_scores(model, request.data.image_set, request.limit, request.seed)


def _attributes(request: ScoreRequest) -> dict[str, Any]:
    train = request.data.samples("train")
    return attribute_scores(request.trained, train, request.test, request.seed)


def _quality(request: ScoreRequest) -> dict[str, Any]:
    """FID, precision, recall, density and coverage of as many new pictures as there are test pictures."""
    from ecmvae.vae.frechet import quality_report
    from ecmvae.visual.features import PictureFeatures

    real = as_float(request.test.take(slice(0, request.images)).images)
    drawn = draw_from(request.trained, len(real), request.seed, data=request.data)
    report = quality_report(real, drawn, PictureFeatures())
    return {"quality": {"pictures": len(real), **vars(report)}}


def _disentanglement(request: ScoreRequest) -> dict[str, Any]:
    """How the latents follow the known factors that have several values in the test pictures."""
    from ecmvae.vae.disentanglement import disentanglement_report

    columns = _varied(request.test.factors)
    codes = request.trained.encode(request.test)
    report = disentanglement_report(codes, request.test.factors[:, columns], seed=request.seed)
    names = [request.data.factor_names[column] for column in columns]
    # JSON has no NaN
    named = {name: value if isfinite(value) else None for name, value in report.named().items()}
    return {"disentanglement": {"factors": ", ".join(names), **named}}


def _varied(factors: Tensor) -> list[int]:
    return [
        column for column in range(factors.shape[1]) if len(torch.unique(factors[:, column])) > 1
    ]


def _is_multimodal(request: ScoreRequest) -> bool:
    return isinstance(request.trained.model, MultimodalVAE)


SCORERS: dict[str, Scorer] = {
    "bounds": Scorer(applies=lambda each: isinstance(each.trained.model, VAE), compute=_bounds),
    "losses": Scorer(applies=lambda each: not isinstance(each.trained.model, VAE), compute=_losses),
    "coherence": Scorer(
        applies=lambda each: _is_multimodal(each) and each.data.folder is None, compute=_coherence
    ),
    "attributes": Scorer(
        applies=lambda each: (
            _is_multimodal(each) and each.data.folder is not None and bool(each.test.conditions)
        ),
        compute=_attributes,
    ),
    "disentanglement": Scorer(
        applies=lambda each: each.data.folder is not None and len(_varied(each.test.factors)) > 1,
        compute=_disentanglement,
        by_default=lambda each: len(each.test) >= ENOUGH,
    ),
    "quality": Scorer(
        applies=lambda each: len(each.trained.facts.event_shape) == 3,
        compute=_quality,
        by_default=lambda _: False,
    ),
}
"""Name -> scorer, in the order of the report."""
