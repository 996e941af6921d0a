"""The form in which picture and sound agree on c: what reaches the masks, and by which way."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ecmvae.config import Config, load_config
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, build_model
from ecmvae.models.agreement import SmoothMap

CONFIGS = Path(__file__).parents[2] / "configs"


def _config(**settings: object) -> Config:
    small = {"model.visual.name": "efficientnet_lite0", "model.channels": 16, "model.latent.dim": 4}
    return load_config(
        CONFIGS / "layers" / "agreement.yaml", {**small, "model.fusion.kind": "gate", **settings}
    )


def _model(**settings: object) -> ECMVAE:
    torch.manual_seed(0)
    return build_model(_config(**settings).model, image_size=64)


def _clips(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    masks = torch.zeros(2, 3, 1, 64, 64)
    masks[:, :, :, 8:32, 8:32] = 1
    return torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks


@torch.no_grad()
def test_the_sound_reaches_the_masks_through_the_latents_alone() -> None:
    model = _model().eval()
    frames, audio, _ = _clips()
    clip, other = model.condition(frames, audio), model.condition(frames, audio.flip(0))
    point = model.prior_latents(clip).mode
    assert torch.equal(model.answer(point, clip), model.answer(point, other))
    assert not torch.equal(model.prior_latents(other).mode["shared"], point["shared"])


@torch.no_grad()
def test_the_prior_leaves_the_place_open() -> None:
    model = _model().eval()
    torch.nn.init.normal_(model.agreement.prior.visual_logvar.weight)  # it starts at 0
    frames, audio, _ = _clips()
    prior = model.prior_latents(model.condition(frames, audio))
    assert not prior.mode["visual"].any()
    assert prior["visual"].mean.shape == (6, 100)
    assert prior["visual"].std.std(0).min() > 0  # its spread depends on the picture


@torch.no_grad()
def test_smooth_maps_are_described_by_orthonormal_waves() -> None:
    maps = SmoothMap()
    torch.manual_seed(0)
    coefficients = torch.randn(3, 100)
    torch.testing.assert_close(
        maps.analyse(maps.compose(coefficients, (16, 16))), coefficients, rtol=1e-4, atol=1e-4
    )
    wave = torch.zeros(1, 100)
    wave[0, 3] = 1 / maps.scale[0, 3]
    across = (
        math.sqrt(1 / 16)
        * math.sqrt(2 / 16)
        * torch.cos(torch.pi * 3 * (torch.arange(16) + 0.5) / 16)
    )
    torch.testing.assert_close(maps.compose(wave, (16, 16))[0, 0, 5], across)


@torch.no_grad()
def test_a_posterior_answers_what_it_is_shown() -> None:
    """Even a mask that has nothing to do with the picture, and untrained: evidence is added to the logits."""
    model = _model().eval()
    frames, audio, masks = _clips()
    shown = masks.flatten(0, 1).roll((20, 20), (-2, -1))
    clip = model.condition(frames, audio)
    answer = model.decode_latents(model.posterior_latents(shown, clip).mode, clip) > 0
    truth = shown > 0.5
    assert (answer & truth).sum() / (answer | truth).sum() > 0.5


@torch.no_grad()
def test_masks_do_not_change_the_answer_of_the_prior() -> None:
    model = _model().eval()
    frames, audio, masks = _clips()
    alone, both = (model(frames, audio, shown, latents="mean") for shown in (None, masks))
    torch.testing.assert_close(alone.logits, both.logits, rtol=1e-4, atol=1e-4)
    assert alone.posterior_logits is None
    assert not torch.equal(both.posterior_logits, both.logits)


@torch.no_grad()
def test_frames_without_a_mask_have_the_latents_of_the_prior() -> None:
    model = _model().eval()
    frames, audio, masks = _clips()
    supervised = torch.tensor([[True, False, False], [True, False, False]])
    output = model(frames, audio, masks, supervised, latents="mean")
    for name, latent in output.posterior.items():
        assert torch.equal(latent.mean[[1, 2, 4, 5]], output.prior[name].mean[[1, 2, 4, 5]])
    assert torch.equal(output.posterior_logits[:, 1:] > 0, output.logits[:, 1:] > 0)


def test_the_pass_of_the_posterior_leaves_running_statistics_alone() -> None:
    frames, audio, masks = _clips()
    alone, both = _model().train(), _model().train()
    alone(frames, audio, latents="mean")
    both(frames, audio, masks, latents="mean")
    for name, buffer in alone.named_buffers():
        if name.endswith(("running_mean", "running_var")) and not name.startswith(
            "agreement.posterior"
        ):
            torch.testing.assert_close(dict(both.named_buffers())[name], buffer, msg=name)
    norms = [each for each in both.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert {each.momentum for each in norms} == {0.1}


@pytest.mark.parametrize("settings", [{}, {"model.num_classes": 3, "data.name": "avss"}])
def test_every_trained_parameter_gets_a_gradient(settings: dict[str, object]) -> None:
    config = _config(**settings, **{"loss.match": 0.3})
    model, objective = _model(**settings), Objective.from_config(config)
    frames, audio, masks = _clips()
    labels = masks[:, :, 0].long() if config.model.num_classes > 1 else None
    objective(model(frames, audio, masks), masks, labels=labels).total.backward()
    trained = [*model.named_parameters(), *objective.named_parameters()]
    assert [name for name, each in trained if each.requires_grad and each.grad is None] == []


def test_a_second_decoder_is_not_there_to_guess_masks() -> None:
    with pytest.raises(UserError, match="pseudo needs two decoders"):
        _model(**{"model.latent.weak_posterior": "pseudo"})


def test_the_first_mask_may_stand_in() -> None:
    model = _model(**{"model.latent.weak_posterior": "repeat_first"}).eval()
    frames, audio, masks = _clips()
    supervised = torch.tensor([[True, False, False], [True, False, False]])
    output = model(frames, audio, masks, supervised, latents="mean")
    assert output.informed.all()


def test_the_layer_is_another_form_of_the_same_network() -> None:
    paper, agreement = load_config(), load_config(CONFIGS / "layers" / "agreement.yaml")
    changed = {
        f"{part}.{name}"
        for part in ("model", "loss", "data", "train")
        for name, value in dataclasses.asdict(getattr(agreement, part)).items()
        if value != dataclasses.asdict(getattr(paper, part))[name]
    }
    assert changed == {
        "model.latent",
        "loss.orthogonality",
        "loss.mutual_information",
        "loss.free_bits",
    }


def test_a_batch_under_several_sounds_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model().eval()
    frames, audio, _ = _clips()
    look, looks = model.agreement.answer.look, []
    monkeypatch.setattr(model.agreement.answer, "look", lambda maps: looks.append(1) or look(maps))
    with torch.no_grad():
        features = model.extract_features(frames)
        answers = [
            model(frames, sound, latents="mean", features=features).logits
            for sound in (audio, audio.flip(0))
        ]
        assert len(looks) == 1
        expected = [model(frames, sound, latents="mean").logits for sound in (audio, audio.flip(0))]
        assert all(torch.equal(ours, fresh) for ours, fresh in zip(answers, expected, strict=True))
        assert not torch.equal(*answers)
    looks.clear()
    for _ in range(2):  # with gradients, each pass has a graph of its own
        model(frames, audio, features=features)
    assert len(looks) == 2
