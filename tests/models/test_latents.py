import pytest
import torch

from ecmvae.errors import UserError
from ecmvae.models.latents import FactorizedLatentEncoder, LatentFusion, LatentInjection
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latents import LatentSet


def _gaussian(n: int, dim: int = 4) -> DiagonalGaussian:
    return DiagonalGaussian(torch.randn(n, dim), torch.randn(n, dim))


def _latents(n: int) -> LatentSet:
    return LatentSet({name: _gaussian(n) for name in ("shared", "visual", "audio")})


def test_the_six_encoders_have_the_published_parameter_count() -> None:
    """Latent block of the specification: 2,158,804 with fusion (8 tensors), injection and the loss's own 612."""
    prior = FactorizedLatentEncoder("prior", image_size=224, audio_dim=128)
    posterior = FactorizedLatentEncoder("posterior", image_size=224, audio_dim=128)
    parts = [
        prior,
        posterior,
        *(LatentFusion("concat", 16) for _ in "pq"),
        *(LatentInjection(128, 16) for _ in "pq"),
    ]
    assert sum(p.numel() for part in parts for p in part.parameters()) == 2_158_804 - 612


def test_prior_and_posterior_insist_on_their_inputs() -> None:
    frames, audio, masks = torch.rand(2, 3, 64, 64), torch.rand(2, 128), torch.ones(2, 1, 64, 64)
    with pytest.raises(ValueError, match="does not take masks"):
        FactorizedLatentEncoder("prior", image_size=64, audio_dim=128)(frames, audio, masks)
    with pytest.raises(ValueError, match="needs masks"):
        FactorizedLatentEncoder("posterior", image_size=64, audio_dim=128)(frames, audio)


def test_each_latent_depends_on_what_it_should() -> None:
    encoder = FactorizedLatentEncoder(
        "posterior", image_size=64, audio_dim=128, latent_dim=4
    ).eval()
    frames, audio = torch.rand(1, 3, 64, 64), torch.rand(1, 128)
    masks = torch.zeros(1, 1, 64, 64)
    base = encoder(frames, audio, masks)
    moved = {
        "frames": encoder(frames + 1, audio, masks),
        "audio": encoder(frames, audio + 1, masks),
        "masks": encoder(frames, audio, masks + 1),
    }
    depends = {
        (part, source): not torch.allclose(base[part].mean, values[part].mean)
        for source, values in moved.items()
        for part in base
    }
    assert depends == {
        ("shared", "frames"): True,
        ("visual", "frames"): True,
        ("audio", "frames"): False,
        ("shared", "audio"): True,
        ("visual", "audio"): False,
        ("audio", "audio"): True,
        ("shared", "masks"): True,
        ("visual", "masks"): True,
        ("audio", "masks"): True,
    }


def test_poe_fusion_is_the_product_with_the_prior() -> None:
    """Precisions add: 1/v = 1 + 1/v_s + 1/v_c (closed form, not the library's log space)."""
    latents = _latents(3)
    fused = LatentFusion("poe", 4)(latents, "mean").fused_visual
    own, shared = latents["visual"], latents["shared"]
    precision = 1 + (-own.logvar).exp() + (-shared.logvar).exp()
    expected = (own.mean * (-own.logvar).exp() + shared.mean * (-shared.logvar).exp()) / precision
    torch.testing.assert_close(fused, expected)


def test_concat_fusion_is_linear_in_the_samples() -> None:
    latents, fusion = _latents(3), LatentFusion("concat", 4)
    drawn = fusion(latents, "mean")
    expected = (
        torch.cat([latents["audio"].mean, latents["shared"].mean], 1) @ fusion.audio.weight.T
        + fusion.audio.bias
    )
    torch.testing.assert_close(drawn.fused_audio, expected)
    assert not torch.equal(fusion(latents, "sample").fused_audio, drawn.fused_audio)


def test_given_values_are_fused_as_the_means_are() -> None:
    latents, fusion = _latents(3), LatentFusion("concat", 4)
    torch.testing.assert_close(vars(fusion.of_points(latents.mode)), vars(fusion(latents, "mean")))
    with pytest.raises(UserError, match="use concat"):
        LatentFusion("poe", 4).of_points(latents.mode)


def test_injection_mixes_the_latents_into_every_position() -> None:
    injection = LatentInjection(6, 4)
    drawn = LatentFusion("concat", 4)(_latents(2), "mean")
    coarsest = torch.randn(2, 6, 3, 3)
    stacked = torch.cat([coarsest[:, :, 1, 2], drawn.fused_visual, drawn.fused_audio], 1)
    expected = stacked @ injection.mix.weight[:, :, 0, 0].T + injection.mix.bias
    torch.testing.assert_close(injection(coarsest, drawn)[:, :, 1, 2], expected)
