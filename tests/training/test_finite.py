"""NaN is found late, and still nothing that holds it is kept."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ecmvae.models.checkpoint import load_model
from ecmvae.training.finite import FiniteLoss, check_weights
from ecmvae.training.module import SegmentationModule
from ecmvae.training.run import train


def test_the_first_step_and_the_first_term_are_named() -> None:
    losses = FiniteLoss()
    for step, structure, kl in (
        (3, 1.0, 0.1),
        (4, 1.0, float("inf")),
        (5, float("nan"), float("nan")),
    ):
        terms = {"structure": torch.tensor(structure), "kl": torch.tensor(kl)}
        losses.remember(step, terms | {"total": terms["structure"] + terms["kl"]})
    with pytest.raises(
        FloatingPointError, match=r"at step 4 \(first in: kl\): lower train\.learning_rate"
    ):
        losses.look()
    losses.look()  # nothing is remembered twice


def test_steps_may_have_different_terms() -> None:
    losses = FiniteLoss()
    losses.remember(0, {"structure": torch.tensor(1.0), "total": torch.tensor(1.0)})
    losses.remember(1, {"total": torch.tensor(float("nan"))})
    with pytest.raises(FloatingPointError, match=r"at step 1 \(first in: total\)"):
        losses.look()


def test_weights_in_training_must_be_finite() -> None:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_weights(layers, 0)
    with torch.no_grad():
        layers[1].bias[1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"after step 7 \(first in: 1\.bias\)"):
        check_weights(layers, 7)
    check_weights(layers.requires_grad_(False), 7)  # frozen ones are as they came


class InfiniteGradient(torch.autograd.Function):
    """The number itself, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


@pytest.mark.parametrize("broken", ["loss", "gradient"])
# an epoch has 3 steps: in the middle of the second, and its last
@pytest.mark.parametrize("step", [4, 5])
def test_a_step_that_is_not_finite_reaches_no_file(
    tiny, monkeypatch: pytest.MonkeyPatch, broken: str, step: int
) -> None:
    """Neither best/ nor last.ckpt holds it, and one line says what to do."""
    config, plain = (
        tiny(train__epochs=3, train__schedule="constant"),
        SegmentationModule.training_step,
    )

    def training_step(module: SegmentationModule, batch: object, batch_idx: int) -> Tensor:
        if module.global_step == step and broken == "loss":
            batch.masks.mul_(float("nan"))
        total = plain(module, batch, batch_idx)
        return (
            InfiniteGradient.apply(total)
            if module.global_step == step and broken == "gradient"
            else total
        )

    monkeypatch.setattr(SegmentationModule, "training_step", training_step)
    with pytest.raises(
        FloatingPointError, match=r"no longer .*finite number.* step .*lower train.*not_finite.json"
    ):
        train(config)
    (run,) = Path(config.train.out).iterdir()
    details = json.loads((run / "not_finite.json").read_text())
    assert details["step"] == (step if broken == "loss" else step + 1)
    if broken == "loss":
        assert details["first"] == "structure"
        assert details["terms"]["structure"] == details["terms"]["total"] == "nan"
        assert len(details["clips"]) == 4
    else:
        # seen in the weights, or in the next step's loss
        assert details.keys() & {"weights", "terms"}
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert all(
        each.isfinite().all()
        for each in checkpoint["state_dict"].values()
        if each.is_floating_point()
    )
    assert all(each.isfinite().all() for each in load_model(run / "best").parameters())
    assert not list(run.glob("**/*.part*"))
