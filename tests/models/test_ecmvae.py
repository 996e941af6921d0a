import pytest
import torch

from ecmvae.config import config_from_dict
from ecmvae.errors import UserError
from ecmvae.models import ECMVAE, build_model


def _model(**model: object) -> ECMVAE:
    torch.manual_seed(0)
    values = {"visual": {"name": "efficientnet_lite0"}, "channels": 16, **model}
    return build_model(config_from_dict({"model": values}).model, image_size=64)


def _clip(batch: int = 2, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    masks = (torch.rand(batch, frames, 1, 64, 64) > 0.6).float()
    return torch.randn(batch, frames, 3, 64, 64), torch.rand(batch, frames, 128), masks


@pytest.mark.parametrize(
    ("name", "released"),
    [("resnet50", 34_077_590), pytest.param("pvt_v2_b5", 91_291_670, marks=pytest.mark.slow)],
)
def test_published_parameter_counts(name: str, released: int) -> None:
    """Less what is dead in the released code, and the mutual-information heads, which live in our loss."""
    # audio_neck; the first skip unit of both decoders
    dead = 128 * 128 + 128 + 2 * 2 * (128 * 128 * 9 + 2 * 128)
    heads = 6 * (16 * 6 + 6)
    model = build_model(config_from_dict({"model": {"visual": {"name": name}}}).model)
    assert sum(p.numel() for p in model.parameters()) == released - dead - heads


def test_the_posterior_exists_exactly_when_masks_are_given() -> None:
    model = _model().eval()
    frames, audio, masks = _clip()
    test, train = model(frames, audio), model(frames, audio, masks)
    assert test.posterior_logits is None
    assert test.posterior is None
    assert train.posterior_logits.shape == train.logits.shape == (2, 3, 1, 64, 64)
    assert train.posterior is not None


def test_means_are_deterministic_and_samples_differ() -> None:
    model = _model().eval()
    frames, audio, _ = _clip()
    with torch.no_grad():
        means = [model(frames, audio, latents="mean").logits for _ in "ab"]
        assert torch.equal(*means)
        drawn = model.sample_logits(frames, audio, 2)
    assert drawn.shape == (2, 2, 3, 1, 64, 64)
    assert not torch.equal(drawn[0], drawn[1])


def test_cached_features_give_the_same_answer() -> None:
    model = _model().eval()
    frames, audio, masks = _clip()
    features = model.extract_features(frames)
    direct, cached = (
        model(frames, audio, masks, latents="mean", features=f) for f in (None, features)
    )
    torch.testing.assert_close(direct.logits, cached.logits)
    torch.testing.assert_close(direct.posterior_logits, cached.posterior_logits)


@pytest.mark.parametrize("kind", ["gate", "none"])
def test_clips_of_a_batch_do_not_mix(kind: str) -> None:
    model = _model(fusion={"kind": kind}).eval()
    frames, audio, _ = _clip()
    both = model(frames, audio, latents="mean").logits
    alone = model(frames[1:], audio[1:], latents="mean").logits
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


def test_any_number_of_frames() -> None:
    model = _model().eval()
    for frames in (1, 4):
        clip, audio, masks = _clip(batch=1, frames=frames)
        assert model(clip, audio, masks).posterior_logits.shape[1] == frames


def test_frames_without_a_mask_fall_back_on_the_prior() -> None:
    model = _model().eval()
    frames, audio, masks = _clip()
    supervised = torch.tensor([[True, False, False]] * 2)
    output = model(frames, audio, masks, supervised)
    assert output.informed.tolist() == [True, False, False] * 2
    assert torch.equal(output.posterior["shared"].mean[1:3], output.prior["shared"].mean[1:3])
    assert not torch.equal(output.posterior["shared"].mean[0], output.prior["shared"].mean[0])
    other = masks.clone()
    other[:, 1:] = 1 - other[:, 1:]
    blind = model(frames, audio, other, supervised)
    # unlabelled masks are never read
    assert torch.equal(blind.posterior["audio"].mean, output.posterior["audio"].mean)


@pytest.mark.parametrize("rule", ["repeat_first", "pseudo"])
def test_the_other_weak_posteriors_inform_every_frame(rule: str) -> None:
    model = _model(latent={"weak_posterior": rule}).eval()
    frames, audio, masks = _clip()
    supervised = torch.tensor([[True, False, False]] * 2)
    output = model(frames, audio, masks, supervised, latents="mean")
    assert output.informed.all()
    if rule == "repeat_first":
        stand_in = masks[:, :1].expand_as(masks)
    else:
        stand_in = (output.logits > 0).float()
        stand_in[:, 0] = masks[:, 0]
    expected = model(frames, audio, stand_in, latents="mean")
    torch.testing.assert_close(output.posterior_logits, expected.posterior_logits)


def test_single_and_no_latents() -> None:
    frames, audio, masks = _clip()
    single = _model(latent={"kind": "single"})(frames, audio, masks)
    assert set(single.posterior) == {"shared"}
    plain = _model(latent={"kind": "none"})(frames, audio, masks)
    assert plain.prior is None
    assert plain.posterior_logits is None


def test_frozen_parts_stay_in_eval_mode_and_take_no_gradient() -> None:
    model = _model(visual={"name": "efficientnet_lite0", "frozen": True}).train()
    assert not model.backbone.training
    assert model.prior_branch.training
    frames, audio, masks = _clip()
    model(frames, audio, masks).logits.sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())


def test_an_audio_encoder_without_weights_is_refused() -> None:
    with pytest.raises(UserError, match=r"set model\.audio\.weights"):
        _model().encode_audio(torch.rand(1, 2, 1, 96, 64))
    tuned = _model(audio={"name": "vggish_small", "frozen": False})
    assert tuned.encode_audio(torch.rand(1, 2, 1, 96, 64)).shape == (1, 2, 128)


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="built for 64 pixels"):
        _model()(torch.rand(1, 2, 3, 96, 96), torch.rand(1, 2, 128))
