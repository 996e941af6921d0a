"""Single terms with known answers, and terms that come from outside the package."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ecmvae.config import Config, config_from_dict
from ecmvae.errors import UserError
from ecmvae.losses.base import LossInputs, LossTerm
from ecmvae.losses.objective import Objective
from ecmvae.losses.terms import LOSS_TERMS, LatentDivergence, SoundMatch, Structure
from ecmvae.models.base import BranchOutput, SegmentationOutput
from ecmvae.models.fusion import Match
from ecmvae.types import FrameSubset
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latents import LatentSet


def _output(*matches: Match, logits: Tensor | None = None) -> SegmentationOutput:
    """Two clips of one frame; the branches' matches in order."""
    logits = torch.zeros(2, 1, 1, 4, 4) if logits is None else logits
    branches = [BranchOutput(logits, None, (), (), (match,)) for match in matches] or [
        BranchOutput(logits, None, (), ())
    ]
    return SegmentationOutput(
        logits=logits,
        prior_branch=branches[0],
        posterior_branch=branches[1] if len(branches) == 2 else None,
    )


def _match(*queries: int, scale: float) -> Match:
    """Two frames whose pixels all have the keys e_0 and e_1, and sounds that point to the given ones."""
    axes = torch.eye(2)
    return Match(
        axes[:, :, None, None].expand(2, 2, 2, 2),
        scale * axes[list(queries)],
        torch.zeros(2, 1, 2, 2),
    )


def test_sound_match_is_the_mean_of_both_branches() -> None:
    """With two frames InfoNCE is log(1 + e^-s) where the sounds fit and log(1 + e^s) where they are swapped."""
    output = _output(_match(0, 1, scale=2.0), _match(1, 0, scale=3.0))
    value = Objective([SoundMatch(1.0)])(output, torch.ones(2, 1, 1, 4, 4)).values["match"]
    prior, posterior = math.log1p(math.exp(-2)), math.log1p(math.exp(3))
    assert value.item() == pytest.approx((prior + posterior) / 2, rel=1e-6)
    silent = BranchOutput(output.logits, None, (), ())
    # without a posterior, and with one that compares nothing
    for posterior_branch in (None, silent):
        alone = Objective([SoundMatch(1.0)])(
            replace(output, posterior_branch=posterior_branch), torch.ones(2, 1, 1, 4, 4)
        )
        assert alone.values["match"].item() == pytest.approx(prior, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({}, 0.5 + 0.02),  # (1, 0.2)^2 / 2
        ({"free_bits": 0.1}, 0.5 + 0.1),  # the second dimension is below what is free
        ({"kl_balance": 0.8}, 0.5 + 0.02),  # only the gradient changes
        ({"kl_balance": 0.8, "free_bits": 0.1}, 0.5 + 0.1),
    ],
)
def test_free_bits_and_balance_of_the_kl(loss: dict[str, float], expected: float) -> None:
    mean, prior_mean = (
        torch.tensor([[1.0, 0.2]], requires_grad=True),
        torch.zeros(1, 2, requires_grad=True),
    )
    config = config_from_dict({"loss": loss})
    _, visual, _ = LatentDivergence.from_config(1.0, config)
    zero = torch.zeros(1, 2)
    output = replace(
        _output(),
        informed=torch.tensor([True]),
        posterior=LatentSet({"visual": DiagonalGaussian(mean, zero)}),
        prior=LatentSet({"visual": DiagonalGaussian(prior_mean, zero)}),
    )
    mask = torch.ones(1, 1, 4, 4)
    known = FrameSubset.of(torch.tensor([True]))
    value = visual(
        LossInputs(output=output, masks=mask, known=known, clips=torch.zeros(1, dtype=torch.long))
    )
    assert value.item() == pytest.approx(expected, rel=1e-6)
    value.backward()
    free = torch.tensor([[1.0, 0.0 if "free_bits" in loss else 1.0]])
    share = loss.get("kl_balance")
    to_posterior, to_prior = (1.0, 1.0) if share is None else (1 - share, share)
    torch.testing.assert_close(mean.grad, to_posterior * torch.tensor([[1.0, 0.2]]) * free)
    torch.testing.assert_close(prior_mean.grad, -to_prior * torch.tensor([[1.0, 0.2]]) * free)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"free_bits": -1.0}, "loss.free_bits"),
        ({"kl_balance": 1.5}, "is a share"),
        ({"free_bits": 0.1, "formulas": "released"}, "set loss.formulas to principled"),
    ],
)
def test_a_kl_that_cannot_be_changed_is_refused(loss: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Objective.from_config(config_from_dict({"loss": loss}))


OUTSIDE = '''
import torch
from torch import nn
from ecmvae.losses.base import LossTerm

class Offset(LossTerm):
    """(mean logit - offset)^2 with a learnt offset."""
    name = "offset"

    def __init__(self, weight):
        super().__init__(weight)
        self.offset = nn.Parameter(torch.tensor(3.0))

    def forward(self, inputs):
        return (inputs.output.logits.mean() - self.offset).square()

class NotATerm:
    pass
'''


def test_a_configuration_names_a_term_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_terms.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = config_from_dict(
        {"loss": {"extra": {"outside_terms:Offset": 0.5}}, "model": {"latent": {"kind": "none"}}}
    )
    objective = Objective.from_config(config)
    result = objective(_output(), torch.zeros(2, 1, 1, 4, 4))
    assert result.values["offset"].item() == 9.0
    assert result.total.item() == pytest.approx(result.values["structure"].item() + 0.5 * 9.0)
    result.total.backward()
    assert dict(objective.named_parameters())["offset.offset"].grad.item() == 0.5 * 6.0
    with pytest.raises(UserError, match=r"not a usable loss term: it lacks \.needs"):
        Objective.from_config(
            config_from_dict({"loss": {"extra": {"outside_terms:NotATerm": 1.0}}})
        )
    with pytest.raises(UserError, match="did you mean structure"):
        Objective.from_config(config_from_dict({"loss": {"extra": {"structur": 1.0}}}))


class Certainty(LossTerm):
    """Minus the mean size of the logits."""

    name = "certainty"

    def forward(self, inputs: LossInputs) -> Tensor:
        return -inputs.output.logits.abs().mean()


def test_an_objective_takes_objects() -> None:
    output = _output(logits=torch.full((2, 1, 1, 4, 4), -2.0))
    result = Objective([Structure(1.0), Certainty(0.25)])(output, torch.zeros(2, 1, 1, 4, 4))
    assert list(result.values) == ["structure", "certainty"]
    assert result.total.item() == pytest.approx(result.values["structure"].item() - 0.25 * 2.0)


class Needy(Certainty):
    """Looks at the posterior."""

    name = "needy"
    needs = ("posterior",)


def test_a_term_is_left_out_where_its_needs_are_not_met() -> None:
    assert list(
        Objective([Certainty(1.0), Needy(1.0)])(_output(), torch.zeros(2, 1, 1, 4, 4)).values
    ) == ["certainty"]


def test_a_mistaken_list_of_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="a loss term named 'certainty' already"):
        Objective([Certainty(1.0), Certainty(2.0)])
    wrong = type("Wrong", (Certainty,), {"needs": ("posteriors",)})
    with pytest.raises(ValueError, match="choose from posterior, factorized"):
        Objective([wrong(1.0)])


def test_every_weight_of_the_configuration_has_a_term() -> None:
    numbers = {name for name, value in vars(Config().loss).items() if isinstance(value, float)}
    assert numbers - {"kl_warmup_epochs", "free_bits"} == set(LOSS_TERMS)


@pytest.mark.parametrize(
    ("model", "heads"),
    [
        ({}, 12),
        ({"name": "ecmvae.models.ecmvae:ECMVAE"}, 12),
        ({"name": "tpavi"}, 0),
        ({"latent": {"kind": "single"}}, 0),
    ],
)
def test_only_models_with_factorized_latents_get_mutual_information_heads(
    model: dict, heads: int
) -> None:
    assert len(Objective.from_config(config_from_dict({"model": model})).state_dict()) == heads


def test_checkpoints_keep_the_names_of_the_heads() -> None:
    heads = [
        f"bounds.{branch}.{layer}"
        for branch in ("prior", "posterior")
        for layer in ("mean", "logvar", "target")
    ]
    expected = [f"{head}.{part}" for head in heads for part in ("weight", "bias")]
    objective = Objective.from_config(Config())
    assert list(objective.state_dict()) == expected
    assert all(isinstance(term, nn.Module) for term in objective.terms)
