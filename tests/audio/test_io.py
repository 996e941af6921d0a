"""The VGGish front end against known answers, and sound files there and back."""

import resource
from pathlib import Path

import numpy as np
import pytest
import reference_inputs
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from ecmvae.audio.io import read_wave, resample, write_wave
from ecmvae.audio.log_mel import mel_matrix
from ecmvae.audio.vggish import log_mel_patches, num_log_mel_patches
from ecmvae.errors import UserError

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def known():
    """Patches of the released front end, every fourth of their 96 windows."""
    with np.load(REFERENCE / "logmel.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def wave_16k():
    return torch.from_numpy(reference_inputs.wave_16k())


def every_fourth(patches):
    return patches[:, 0, ::4]


class TestAgainstTheReleasedFrontEnd:
    def test_float_waveform(self, known, wave_16k):
        torch.testing.assert_close(
            every_fourth(log_mel_patches(wave_16k)),
            known["examples_16k"],
            atol=1e-4,
            rtol=0,
        )

    def test_16_bit_file(self, known, wave_16k, tmp_path):
        pcm = np.round(wave_16k.numpy() * 32767).astype(np.int16)
        soundfile.write(tmp_path / "sound.wav", pcm, 16000)
        patches = log_mel_patches(*read_wave(tmp_path / "sound.wav"))
        torch.testing.assert_close(
            every_fourth(patches), known["examples_16k_int16"], atol=1e-4, rtol=0
        )

    def test_first_second(self, known, wave_16k):
        patches = log_mel_patches(wave_16k[:16000])
        torch.testing.assert_close(
            every_fourth(patches), known["examples_16k_first_second"], atol=1e-4, rtol=0
        )

    def test_44_khz_stereo_file(self, known, tmp_path):
        """Known answer: the float64 front end on the output of resampy 0.4.3."""
        soundfile.write(
            tmp_path / "sound.wav",
            reference_inputs.wave_44k_stereo(),
            44100,
            subtype="FLOAT",
        )
        waveform, rate = read_wave(tmp_path / "sound.wav")
        error = (every_fourth(log_mel_patches(waveform, rate)) - known["examples_44k"]).abs()
        assert error.median() < 2e-4
        assert error.max() < 5e-2

    def test_mel_matrix(self):
        assert mel_matrix().sum().item() == pytest.approx(230.9135991608477, abs=1e-9)
        assert (mel_matrix() > 0).sum() == 461

    def test_tone(self):
        seconds = torch.arange(80000, dtype=torch.float64) / 16000
        patches = log_mel_patches(0.5 * torch.sin(2 * torch.pi * 440 * seconds))
        assert patches[0, 0, 10].argmax() == 8
        assert patches.max().item() == pytest.approx(4.089164, abs=1e-3)
        assert patches.double().sum().item() == pytest.approx(-107575.155, abs=1)

    @pytest.mark.parametrize(
        ("samples", "count"),
        [
            (0, 0),
            (399, 0),
            (15600, 1),
            (16000, 1),
            (31200, 2),
            (40000, 2),
            (64000, 4),
            (79000, 5),
            (80000, 5),
        ],
    )
    def test_number_of_patches(self, samples, count):
        assert num_log_mel_patches(samples) == count
        assert log_mel_patches(torch.zeros(samples)).shape == (count, 1, 96, 64)


class TestPatches:
    def test_one_second_hop_keeps_each_patch_in_its_second(self):
        """A click in second k changes patch k only."""
        for second in range(5):
            waveform = torch.zeros(80000)
            waveform[second * 16000 + 8000] = 1.0
            heard = log_mel_patches(waveform, hop_seconds=1.0).amax(dim=(1, 2, 3)) > np.log(0.011)
            assert heard.tolist() == [k == second for k in range(5)]

    def test_patch_is_the_front_end_of_its_own_samples(self, wave_16k):
        patches = log_mel_patches(wave_16k, hop_seconds=0.5)
        alone = log_mel_patches(wave_16k[3 * 8000 : 3 * 8000 + 15600])
        torch.testing.assert_close(patches[3:4], alone)

    def test_fixed_number_pads_with_silence_and_cuts(self, wave_16k):
        patches = log_mel_patches(wave_16k[:20000], num_patches=5)
        longer = log_mel_patches(torch.nn.functional.pad(wave_16k[:20000], (0, 60000)))
        torch.testing.assert_close(patches, longer)
        torch.testing.assert_close(
            log_mel_patches(wave_16k, num_patches=2), log_mel_patches(wave_16k)[:2]
        )
        assert log_mel_patches(wave_16k, num_patches=0).shape == (0, 1, 96, 64)

    def test_impossible_settings_are_refused(self, wave_16k):
        with pytest.raises(ValueError, match="hop_seconds"):
            log_mel_patches(wave_16k, hop_seconds=0.0)
        with pytest.raises(ValueError, match="num_patches"):
            log_mel_patches(wave_16k, num_patches=-1)


class TestFiles:
    def test_round_trip_is_exact_for_16_bit_values(self, tmp_path):
        waveform = (
            torch.randint(-32768, 32768, (1000,), generator=torch.Generator().manual_seed(0))
            / 32768
        )
        write_wave(tmp_path / "a.wav", waveform, 8000)
        again, rate = read_wave(tmp_path / "a.wav")
        assert rate == 8000
        assert torch.equal(again, waveform)
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]

    def test_too_loud_is_clipped_not_wrapped(self, tmp_path):
        write_wave(tmp_path / "a.wav", torch.tensor([2.0, -2.0]))
        assert read_wave(tmp_path / "a.wav")[0].tolist() == [32767 / 32768, -1.0]

    def test_missing_empty_and_broken_files_are_the_users(self, tmp_path):
        (tmp_path / "broken.wav").write_bytes(b"RIFFnothing")
        soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
        with pytest.raises(UserError, match="no such sound file"):
            read_wave(tmp_path / "missing.wav")
        with pytest.raises(UserError, match="cannot be read as sound"):
            read_wave(tmp_path / "broken.wav")
        with pytest.raises(UserError, match="zero samples"):
            read_wave(tmp_path / "empty.wav")
        soundfile.write(
            tmp_path / "nan.wav", np.full(9, np.nan, np.float32), 16000, subtype="FLOAT"
        )
        with pytest.raises(UserError, match="not numbers"):
            read_wave(tmp_path / "nan.wav")

    def test_resampling_keeps_a_tone(self):
        def tone(rate):
            return torch.sin(2 * torch.pi * 300 * torch.arange(rate) / rate)

        middle = slice(2000, 14000)
        torch.testing.assert_close(
            resample(tone(44100), 44100)[middle], tone(16000)[middle], atol=1e-3, rtol=0
        )
        assert resample(tone(16000), 16000).shape == (16000,)


@pytest.mark.parametrize("rate", [44_100, 44_101, 48_017, 16_001, 15_999, 8_009, 192_007])
def test_odd_rates_are_resampled_in_little_memory(rate: int) -> None:
    tone = torch.sin(2 * torch.pi * 200 * torch.arange(rate, dtype=torch.float64) / rate).float()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resampled = resample(tone, rate).double()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, (
        "kB; the whole bank has gigabytes"
    )
    seconds = torch.arange(len(resampled), dtype=torch.float64) / 16_000
    inside = slice(200, 15_800)  # the filter sees silence beyond the ends
    error = (resampled - torch.sin(2 * torch.pi * 200 * seconds))[inside].abs()
    drift = 2 * torch.pi * 200 * seconds[inside] / 4000
    assert (error < drift + 1e-3).all()
    if rate in (44_100, 44_101, 48_017):
        assert error.max() < 2e-3


@pytest.mark.parametrize("rate", [0, 99, 2**31 - 1])
def test_absurd_rates_are_refused(rate: int) -> None:
    with pytest.raises(
        UserError, match=f"sample rate, in Hz, must be from 100 to 1000000, got {rate}"
    ):
        resample(torch.zeros(10), rate)


RATES = some.one_of(
    some.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]), some.integers(4_000, 50_000)
)


@given(RATES, RATES, some.floats(0.02, 0.35))
@settings(max_examples=25, deadline=None)
def test_a_tone_keeps_its_frequency_its_phase_and_its_length(
    rate: int, new_rate: int, share: float
) -> None:
    """Any two rates: the resampled tone is the tone sampled at the other rate, away from the ends."""
    seconds, frequency = 0.25, share * min(rate, new_rate)
    tone = torch.sin(
        2 * torch.pi * frequency * torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    ).float()
    there = resample(tone, rate, new_rate)
    assert abs(len(there) - len(tone) * new_rate / rate) <= 2 + len(tone) * new_rate / rate / 4_000
    times = torch.arange(len(there), dtype=torch.float64) / new_rate
    expected = torch.sin(2 * torch.pi * frequency * times).float()
    edge = slice(len(there) // 4, -len(there) // 4)
    # the documented error of an odd ratio, as a phase
    drift = 2 * torch.pi * frequency * seconds / 4_000
    assert (there[edge] - expected[edge]).abs().max() < 2e-3 + drift
