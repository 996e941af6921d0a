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
from ecmvae.losses.terms import LOSS_TERMS, SoundMatch, Structure
from ecmvae.models.base import BranchOutput, SegmentationOutput
from ecmvae.models.fusion import Match


def _output(*matches: Match, logits: Tensor | None = None) -> SegmentationOutput:
    """Two clips of one frame; the branches' matches in order."""
    logits = torch.zeros(2, 1, 1, 4, 4) if logits is None else logits
    branches = [BranchOutput(logits, None, (), (), (match,)) for match in matches] or [
        BranchOutput(logits, None, (), ())
    ]
    return SegmentationOutput(
        logits=logits, prior_branch=branches[0], posterior_branch=branches[1] if len(branches) == 2 else None
    )


def _match(*queries: int, scale: float) -> Match:
    """Two frames whose pixels all have the keys e_0 and e_1, and sounds that point to the given ones."""
    axes = torch.eye(2)
    return Match(axes[:, :, None, None].expand(2, 2, 2, 2), scale * axes[list(queries)], torch.zeros(2, 1, 2, 2))


def test_sound_match_is_the_mean_of_both_branches() -> None:
    """With two frames InfoNCE is log(1 + e^-s) where the sounds fit and log(1 + e^s) where they are swapped."""
    output = _output(_match(0, 1, scale=2.0), _match(1, 0, scale=3.0))
    value = Objective([SoundMatch(1.0)])(output, torch.ones(2, 1, 1, 4, 4)).values["match"]
    prior, posterior = math.log1p(math.exp(-2)), math.log1p(math.exp(3))
    assert value.item() == pytest.approx((prior + posterior) / 2, rel=1e-6)
    alone = Objective([SoundMatch(1.0)])(replace(output, posterior_branch=None), torch.ones(2, 1, 1, 4, 4))
    assert alone.values["match"].item() == pytest.approx(prior, rel=1e-6)


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


def test_a_configuration_names_a_term_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_terms.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = config_from_dict({"loss": {"extra": {"outside_terms:Offset": 0.5}}, "model": {"latent": {"kind": "none"}}})
    objective = Objective.from_config(config)
    result = objective(_output(), torch.zeros(2, 1, 1, 4, 4))
    assert result.values["offset"].item() == 9.0
    assert result.total.item() == pytest.approx(result.values["structure"].item() + 0.5 * 9.0)
    result.total.backward()
    assert dict(objective.named_parameters())["offset.offset"].grad.item() == 0.5 * 6.0
    with pytest.raises(UserError, match=r"not a usable loss term: it lacks \.needs"):
        Objective.from_config(config_from_dict({"loss": {"extra": {"outside_terms:NotATerm": 1.0}}}))
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
    assert list(Objective([Certainty(1.0), Needy(1.0)])(_output(), torch.zeros(2, 1, 1, 4, 4)).values) == ["certainty"]


def test_a_mistaken_list_of_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="a loss term named 'certainty' already"):
        Objective([Certainty(1.0), Certainty(2.0)])
    wrong = type("Wrong", (Certainty,), {"needs": ("posteriors",)})
    with pytest.raises(ValueError, match="choose from posterior, factorized"):
        Objective([wrong(1.0)])


def test_every_weight_of_the_configuration_has_a_term() -> None:
    numbers = {name for name, value in vars(Config().loss).items() if isinstance(value, float)}
    assert numbers - {"kl_warmup_epochs"} == set(LOSS_TERMS)


@pytest.mark.parametrize(
    ("model", "heads"),
    [
        ({}, 12),
        ({"name": "ecmvae.models.ecmvae:ECMVAE"}, 12),
        ({"name": "tpavi"}, 0),
        ({"latent": {"kind": "single"}}, 0),
    ],
)
def test_only_models_with_factorized_latents_get_mutual_information_heads(model: dict, heads: int) -> None:
    assert len(Objective.from_config(config_from_dict({"model": model})).state_dict()) == heads


def test_checkpoints_keep_the_names_of_the_heads() -> None:
    heads = [f"bounds.{branch}.{layer}" for branch in ("prior", "posterior") for layer in ("mean", "logvar", "target")]
    expected = [f"{head}.{part}" for head in heads for part in ("weight", "bias")]
    objective = Objective.from_config(Config())
    assert list(objective.state_dict()) == expected
    assert all(isinstance(term, nn.Module) for term in objective.terms)
