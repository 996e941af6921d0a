"""The TPAVI baseline; tests/reference/test_avsbench_tpavi.py holds its values against the released form."""

import torch
from torch.nn import functional as F

from ecmvae.config import Config, config_from_dict
from ecmvae.losses.objective import Objective
from ecmvae.models import TPAVIBaseline, build_model
from ecmvae.models.baselines import FeatureFusionBlock, ResidualConvUnit


def _config(**parts: dict) -> Config:
    model = {
        "name": "tpavi",
        "visual": {"name": "efficientnet_lite0"},
        "channels": 16,
        **parts.pop("model", {}),
    }
    return config_from_dict({"model": model, "data": {"image_size": 64}, **parts})


def _model(**model: object) -> TPAVIBaseline:
    torch.manual_seed(0)
    return build_model(_config(model=model).model, image_size=64)


def test_what_is_added_back_is_the_rectified_input() -> None:
    unit = ResidualConvUnit(4)
    for parameter in unit.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(unit(x), x.clamp_min(0))


def test_a_block_doubles_the_resolution_with_corners_on_corners() -> None:
    block = FeatureFusionBlock(4, has_skip=True)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x, skip = torch.rand(2, 1, 4, 3, 3)
    doubled = block(x, skip)
    assert doubled.shape == (1, 4, 6, 6)
    torch.testing.assert_close(doubled[..., ::5, ::5], (x + skip)[..., ::2, ::2])


def test_it_answers_as_ecmvae_does_without_latents() -> None:
    model = _model().eval()
    frames, audio = torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128)
    masks = (torch.rand(2, 3, 1, 64, 64) > 0.6).float()
    with torch.no_grad():
        output = model(frames, audio, masks)
        assert torch.equal(output.logits, model(frames, audio, latents="mean").logits)
        cached = model(frames, audio, features=model.extract_features(frames))
        alone = model(frames[1:], audio[1:])
        drawn = model.sample_logits(frames, audio, 2)
    assert output.logits.shape == (2, 3, 1, 64, 64)
    assert (output.prior, output.posterior, output.posterior_logits, output.posterior_branch) == (
        None,
    ) * 4
    torch.testing.assert_close(cached.logits, output.logits)
    torch.testing.assert_close(alone.logits, output.logits[1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(drawn[1], output.logits)


def test_one_setting_makes_it_of_any_configuration() -> None:
    plain, other = _model(), _model(latent={"dim": 4}, fusion={"kind": "gate"}, neck="aspp")
    assert isinstance(plain, TPAVIBaseline)
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_every_scale_hears_with_a_projection_of_its_own() -> None:
    model = _model().eval()
    audio = torch.rand(1, 3, 128)
    with torch.no_grad():
        branch = model(torch.randn(1, 3, 3, 64, 64), audio).prior_branch
    for block, sound, fused in zip(model.fusion, branch.audio, branch.fused, strict=True):
        torch.testing.assert_close(sound, F.linear(audio[0], block.align.weight, block.align.bias))
        assert fused.min() == 0


def test_sound_reaches_the_masks_once_the_attention_has_weight() -> None:
    model = _model().eval()
    frames, audio = torch.randn(1, 3, 3, 64, 64), torch.rand(1, 3, 128)
    for block in model.fusion:  # it starts at 0, as an identity
        torch.nn.init.ones_(block.out_norm.weight)
    with torch.no_grad():
        assert (model(frames, audio).logits - model(frames, 0 * audio).logits).abs().max() > 1e-3


def test_its_published_loss_is_a_plain_bce_and_the_audio_visual_matching_term() -> None:
    loss = {
        "mask": "bce",
        "formulas": "released",
        "audio_visual_matching": 0.5,
        "audio_visual_matching_normalise": False,
    }
    config = _config(loss=loss)
    model = build_model(config.model, image_size=64)
    masks = (torch.rand(2, 3, 1, 64, 64) > 0.6).float()
    first = torch.tensor([[True, False, False]] * 2)
    output = model(torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks, first)
    terms = Objective.from_config(config)(output, masks, first)
    assert dict(terms.weights) == {"structure": 1.0, "audio_visual_matching": 0.5}
    expected = F.binary_cross_entropy(output.logits[:, 0].sigmoid(), masks[:, 0])
    torch.testing.assert_close(terms.values["structure"], expected)
    terms.total.backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert silent == []


def test_frozen_parts_stay_fixed() -> None:
    model = _model(visual={"name": "efficientnet_lite0", "frozen": True}).train()
    assert model.training
    assert not model.backbone.training
    model(torch.randn(1, 2, 3, 64, 64), torch.rand(1, 2, 128)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
