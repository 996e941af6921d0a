"""What of a run on a CPU is equal to the bit, and what is not: one test for each row of docs/reliability.md's table."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.training.monitor import read_history
from ecmvae.training.run import train

SMALL = {
    "data__length": 4,
    "data__val_length": 2,
    "train__batch_size": 2,
    "train__epochs": 2,
    "train__cache_features": False,
}
WITHOUT_NOISE = {"model__latent__kind": "none", "train__batch_norm": "frozen"}
"""Latents are drawn by each process or thread for itself, and batch statistics are those of its share."""


_DONE: dict[tuple, Path] = {}


@pytest.fixture
def run(tiny: Callable[..., Config]) -> Callable[..., Path]:
    """Train a toy run; keywords change its configuration. Runs that another test has made are not made again."""

    def once(*, again: bool = False, **overrides: object) -> Path:
        key = (torch.get_num_threads(), *sorted(overrides.items()))
        if again or key not in _DONE:
            _DONE[key] = train(tiny(**(SMALL | overrides)))
        return _DONE[key]

    return once


def numbers(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight and every moment of the optimiser after a run."""
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    moments = saved["optimizer_states"][0]["state"]
    return saved["state_dict"] | {
        f"{key}.{name}": each for key, of in moments.items() for name, each in of.items()
    }


def different(one: Path, other: Path) -> list[str]:
    first, second = numbers(one), numbers(other)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def same_run(one: Path, other: Path) -> bool:
    """Whether weights, moments and history are equal to the bit."""
    rows = [read_history(each / "history.jsonl") for each in (one, other)]
    return different(one, other) == [] and rows[0] == rows[1] and len(rows[0]) > 2


def close_scores(one: Path, other: Path, tolerance: float) -> None:
    first, second = (
        [row for row in read_history(each / "history.jsonl") if "val/miou" in row]
        for each in (one, other)
    )
    assert len(first) == len(second) == 2
    for row, expected in zip(first, second, strict=True):
        assert row["val/miou"] == pytest.approx(expected["val/miou"], abs=tolerance)


def test_the_same_run_twice(run: Callable[..., Path]) -> None:
    first = run()
    assert same_run(first, run(again=True))
    assert different(first, run(train__seed=5)), "equal for any seed: the comparison shows nothing"


def test_workers_0_and_2(run: Callable[..., Path]) -> None:
    assert same_run(run(), run(data__workers=2))


def test_deterministic_algorithms(run: Callable[..., Path]) -> None:
    """On a CPU they change nothing."""
    assert same_run(run(), run(train__deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()


def test_activation_checkpointing(run: Callable[..., Path]) -> None:
    assert same_run(run(), run(train__activation_checkpointing=True))


def test_two_processes_twice(run: Callable[..., Path]) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    together = {"train__devices": 2, "train__strategy": "ddp_notebook"}
    assert same_run(run(**together), run(**together, again=True))


def test_one_process_and_two_are_equal_up_to_rounding(run: Callable[..., Path]) -> None:
    torch.set_num_threads(1)
    alone, together = (
        run(**WITHOUT_NOISE),
        run(**WITHOUT_NOISE, train__devices=2, train__strategy="ddp_notebook"),
    )
    close_scores(together, alone, 1e-4)
    assert different(alone, together), "to the bit after all: say so in the table"


def test_one_thread_and_two_are_equal_up_to_rounding(run: Callable[..., Path]) -> None:
    before, folders = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            folders.append(run(**WITHOUT_NOISE))
    finally:
        torch.set_num_threads(before)
    close_scores(*folders, 1e-3)


def test_accumulated_batches_are_equal_up_to_rounding(run: Callable[..., Path]) -> None:
    whole, split = (
        run(**WITHOUT_NOISE),
        run(**WITHOUT_NOISE, train__batch_size=1, train__accumulate=2),
    )
    close_scores(split, whole, 1e-3)
    assert different(whole, split), "to the bit after all: say so in the table"


def test_a_time_budget_is_refused_with_deterministic(tiny: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match="max_minutes depends on the machine's speed"):
        tiny(train__deterministic=True, train__max_minutes=1.0)
