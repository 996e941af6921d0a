import dataclasses
import math

import pytest
import torch
from torch import Tensor

from ecmvae.config import Config, config_from_dict
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.losses.segmentation import structure_loss
from ecmvae.models import BranchOutput, SegmentationOutput, build_model
from ecmvae.models.latents import LatentSamples


def _config(**parts: dict) -> Config:
    model = {"visual": {"name": "efficientnet_lite0"}, "channels": 128, **parts.pop("model", {})}
    return config_from_dict({"model": model, "data": {"image_size": 64}, **parts})


def _step(
    config: Config, supervised: torch.Tensor | None = None
) -> tuple[Objective, SegmentationOutput, Tensor]:
    torch.manual_seed(0)
    model = build_model(config.model, image_size=64)
    masks = (torch.rand(2, 3, 1, 64, 64) > 0.7).float()
    output = model(torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks, supervised)
    return Objective.from_config(config), output, masks


def test_all_terms_by_name_and_their_total() -> None:
    config = _config(loss={"audio_visual_matching": 0.5, "kl": 0.01})
    loss, output, masks = _step(config)
    terms = loss(output, masks, kl_factor=0.5)
    weights = {
        "structure": 1.0,
        "audio_visual_matching": 0.5,
        "posterior_structure": 1.0,
        "js_shared": 0.005,
        "kl_visual": 0.005,
        "kl_audio": 0.005,
        "orthogonality": 0.001,
        "mutual_information": -0.001,
    }
    assert dict(terms.weights) == pytest.approx(weights)
    named = terms.named()
    total = sum(weight * named[name].item() for name, weight in weights.items())
    assert named["total"].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "gone"),
    [
        ("structure", {"structure"}),
        ("posterior_structure", {"posterior_structure"}),
        ("kl", {"js_shared", "kl_visual", "kl_audio"}),
        ("orthogonality", {"orthogonality"}),
        ("mutual_information", {"mutual_information"}),
    ],
)
def test_a_weight_of_zero_removes_the_term_and_nothing_else(weight: str, gone: set[str]) -> None:
    full, without = _config(), _config(loss={weight: 0.0})
    loss, output, masks = _step(full)
    every = set(loss(output, masks).values)
    assert every - set(Objective.from_config(without)(output, masks).values) == gone


def test_only_supervised_frames_count() -> None:
    supervised = torch.tensor([[True, False, False], [True, False, False]])
    loss, output, masks = _step(_config(), supervised)
    terms = loss(output, masks, supervised).values
    expected = structure_loss(output.logits[:, 0], masks[:, 0]).mean()
    torch.testing.assert_close(terms["structure"], expected)
    assert output.posterior is not None
    assert output.prior is not None
    kl = output.posterior["visual"].kl(output.prior["visual"])[[0, 3]].mean()
    torch.testing.assert_close(terms["kl_visual"], kl)
    changed = masks.clone()
    changed[:, 1:] = 1 - changed[:, 1:]
    again = loss(output, changed, supervised).values
    torch.testing.assert_close(again["structure"], terms["structure"])


def test_shared_divergence_is_bounded_js_or_closed_form_kl() -> None:
    loss, output, masks = _step(_config())
    assert loss(output, masks).values["js_shared"].item() <= math.log(2)
    loss_kl = Objective.from_config(_config(model={"latent": {"shared_divergence": "kl"}}))
    assert output.posterior is not None
    assert output.prior is not None
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(output.posterior["shared"].mean, output.posterior["shared"].std),
        torch.distributions.Normal(output.prior["shared"].mean, output.prior["shared"].std),
    )
    torch.testing.assert_close(loss_kl(output, masks).values["kl_shared"], expected.sum(1).mean())


def test_every_trained_parameter_gets_a_gradient() -> None:
    """Nothing in the model is dead; the released code carries 607,360 parameters that never train."""
    config = _config(loss={"audio_visual_matching": 0.5})
    loss, output, masks = _step(config)
    model_parameters: list[tuple[str, torch.nn.Parameter]] = []
    torch.manual_seed(0)
    model = build_model(config.model, image_size=64)
    output = model(torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks)
    loss(output, masks).total.backward()
    model_parameters += model.named_parameters()
    model_parameters += [(name, p) for name, p in loss.named_parameters() if p.requires_grad]
    assert [name for name, p in model_parameters if p.grad is None] == []


def test_without_latents_the_loss_is_the_structure_loss() -> None:
    loss, output, masks = _step(_config(model={"latent": {"kind": "none"}}))
    terms = loss(output, masks)
    assert set(terms.values) == {"structure"}
    assert dataclasses.asdict(_config().loss)["structure"] == 1.0


CLASSES = 5


def _several_classes(
    **loss: float,
) -> tuple[Objective, SegmentationOutput, torch.Tensor, torch.Tensor]:
    """Two clips of three frames, the last one padding, of which the first alone has a label."""
    values = {"structure": 0.0, "posterior_structure": 0.0, "audio_visual_matching": 0.5, **loss}
    config = _config(
        model={"num_classes": CLASSES}, data={"image_size": 64, "name": "avss"}, loss=values
    )
    torch.manual_seed(0)
    model = build_model(config.model, image_size=64)
    labels = torch.randint(0, CLASSES, (2, 3, 64, 64))
    masks = (labels > 0).float().unsqueeze(2)
    output = model(torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks, FIRST)
    return Objective.from_config(config), output, masks, labels


FIRST = torch.tensor([[True, False, False]]).expand(2, -1)
REAL = torch.tensor([[True, True, False]]).expand(2, -1)


def test_classes_learn_by_cross_entropy_at_labelled_frames() -> None:
    loss, output, masks, labels = _several_classes()
    terms = loss(output, masks, FIRST, labels=labels, valid=REAL)
    for name, logits in (
        ("cross_entropy", output.logits),
        ("posterior_cross_entropy", output.posterior_logits),
    ):
        chosen = logits[:, 0].log_softmax(1).gather(1, labels[:, 0, None])
        assert terms.values[name].item() == pytest.approx(-chosen.mean().item(), rel=1e-5)
        assert terms.weights[name] == 1.0
    assert "structure" not in terms.values
    with pytest.raises(ValueError, match="learns from labels"):
        loss(output, masks, FIRST)


def test_the_structure_term_of_classes_asks_for_anything_but_background() -> None:
    loss, output, masks, labels = _several_classes(structure=1.0, cross_entropy=0.0)
    terms = loss(output, masks, FIRST, labels=labels)
    foreground = torch.logit(1 - output.logits[:, 0].double().softmax(1)[:, :1]).float()
    expected = structure_loss(foreground, masks[:, 0]).mean()
    torch.testing.assert_close(terms.values["structure"], expected, rtol=1e-4, atol=1e-5)
    assert "cross_entropy" not in terms.values


def test_padded_frames_count_nowhere() -> None:
    loss, output, masks, labels = _several_classes()
    padding = ~REAL.flatten()

    def broken(rows: torch.Tensor) -> torch.Tensor:
        flat = rows.detach().flatten(0, rows.ndim - 4 if rows.ndim == 5 else 0).clone()
        flat[padding] = torch.nan
        return flat.reshape(rows.shape)

    def broken_branch(branch: BranchOutput) -> BranchOutput:
        return dataclasses.replace(
            branch,
            logits=broken(branch.logits),
            samples=LatentSamples(
                **{name: broken(each) for name, each in vars(branch.samples).items()}
            ),
            fused=tuple(broken(stage) for stage in branch.fused),
            audio=tuple(broken(sound) for sound in branch.audio),
        )

    prior, posterior = broken_branch(output.prior_branch), broken_branch(output.posterior_branch)
    poisoned = dataclasses.replace(
        output,
        logits=prior.logits,
        posterior_logits=posterior.logits,
        prior_branch=prior,
        posterior_branch=posterior,
    )
    torch.manual_seed(1)
    terms = loss(output, masks, FIRST, labels=labels, valid=REAL)
    torch.manual_seed(1)
    assert loss(poisoned, masks, FIRST, labels=labels, valid=REAL).total.item() == pytest.approx(
        terms.total.item()
    )
    assert {
        "orthogonality",
        "mutual_information",
        "audio_visual_matching",
        "cross_entropy",
        "js_shared",
    } <= set(terms.values)


def test_no_term_at_all_is_the_users_mistake() -> None:
    off = {
        "structure": 0.0,
        "posterior_structure": 0.0,
        "kl": 0.0,
        "orthogonality": 0.0,
        "mutual_information": 0.0,
    }
    loss, output, masks = _step(_config(loss=off))
    with pytest.raises(UserError, match="every loss term is off"):
        _ = loss(output, masks).total
