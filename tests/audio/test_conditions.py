"""Wrong sounds are wrong by the stated amount."""

import math

import pytest
import torch

from ecmvae.audio.conditions import shifted, with_noise, with_sound, wrong_sounds


def decibels(signal: torch.Tensor, noise: torch.Tensor) -> float:
    return 10 * math.log10(signal.square().mean().item() / noise.square().mean().item())


@pytest.mark.parametrize("snr", [-10.0, 0.0, 20.0])
def test_noise_has_the_stated_level(snr):
    tone = 0.2 * torch.sin(torch.arange(16000) * 0.3)
    noisy = with_noise(tone, snr, torch.Generator().manual_seed(0))
    assert decibels(tone, noisy - tone) == pytest.approx(snr, abs=1e-3)
    assert abs(torch.corrcoef(torch.stack([tone, noisy - tone]))[0, 1]) < 0.05
    assert torch.equal(noisy, with_noise(tone, snr, torch.Generator().manual_seed(0)))


def test_other_sound_is_looped_and_scaled():
    tone, click = 0.5 * torch.ones(10), torch.tensor([1.0, 0.0, 0.0])
    added = with_sound(tone, click, 6.0) - tone
    assert decibels(tone, added) == pytest.approx(6.0, abs=1e-4)
    assert (added > 0).nonzero().flatten().tolist() == [0, 3, 6, 9]


def test_silence_on_either_side():
    tone, nothing = torch.ones(8), torch.zeros(8)
    assert torch.equal(with_sound(tone, nothing, 0.0), tone)
    assert torch.equal(with_sound(tone, torch.zeros(0), 0.0), tone)
    torch.testing.assert_close(with_sound(nothing, tone, 0.0), torch.full((8,), 0.1))


def test_what_takes_the_place_of_a_clips_own_sound_is_as_long_and_at_minus_20_decibels():
    own = 0.5 * torch.sin(torch.arange(1000) * 0.3)
    made = wrong_sounds(
        own,
        100,
        None,
        snr_db=0.0,
        shift_seconds=1.0,
        generator=torch.Generator().manual_seed(0),
        strangers={"speech": torch.tensor([1.0, -3.0, 2.0])},
    )
    assert set(made) == {"real", "silent", "noise", "shifted", "noise_alone", "speech"}
    for name in ("noise_alone", "speech"):
        assert made[name].shape == own.shape
        assert made[name].square().mean().sqrt().item() == pytest.approx(0.1, rel=1e-4)
    torch.testing.assert_close(
        made["speech"][:6] / made["speech"][0], torch.tensor([1.0, -3, 2, 1, -3, 2])
    )
    assert abs(torch.corrcoef(torch.stack([own, made["noise_alone"]]))[0, 1]) < 0.1


def test_shift_wraps_round():
    assert shifted(torch.arange(6.0), 2, 1.0).tolist() == [4, 5, 0, 1, 2, 3]
