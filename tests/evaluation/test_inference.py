"""What a model is given to hear."""

from types import SimpleNamespace

import pytest
import torch
from fake_segmenter import FakeSegmenter
from prepared import log_mel, prepared

from ecmvae.audio.conditions import derangement
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.evaluation.inference import AudioConditions, eval_mode, latent_draws, silence
from ecmvae.evaluation.tasks import MaskTask
from ecmvae.types import AVBatch


class Ears(FakeSegmenter):
    """Passes sounds through, as far as they fit; draws its answers."""

    def encode_audio(self, features):
        return features.flatten(2)[..., :128]

    def forward(self, frames, audio, latents="sample", features=None):
        noise = (
            torch.randn_like(frames[:, :, :1])
            if latents == "sample"
            else torch.zeros_like(frames[:, :, :1])
        )
        return SimpleNamespace(logits=noise + audio.mean())


@pytest.fixture
def clips():
    return SyntheticAVS("s4", 6, 16, 0)


@pytest.mark.parametrize("names", [True, False])
def test_each_clip_receives_the_audio_that_the_derangement_says(clips, names):
    """With and without a way to read sounds alone."""
    source = clips if names else [clips[i] for i in range(6)]
    conditions = AudioConditions(Ears(), source, shuffled=True, seed=2)
    assert conditions.others == derangement(6, 2)
    index = torch.tensor([3, 4])
    batch = AVBatch.collate([prepared(clips[3]), prepared(clips[4])])
    expected = torch.stack(
        [log_mel(clips[conditions.others[i]]).flatten(1)[:, :128] for i in (3, 4)]
    )
    assert torch.equal(conditions.embeddings("shuffled", index, batch), expected)
    assert torch.equal(
        conditions.embeddings("real", index, batch), batch.audio.flatten(2)[..., :128]
    )
    assert torch.equal(conditions.embeddings("silent", index, batch), silence(Ears(), 2, 5))


def test_silence_comes_through_the_front_end():
    heard = silence(Ears(), 2, 3)
    assert heard.shape == (2, 3, 128)
    expected = log_mel_patches(torch.zeros(16000)).flatten(1)[0, :128]
    assert torch.equal(heard[1, 2], expected)
    torch.testing.assert_close(expected, torch.full((128,), 0.01).log())


def test_draws_share_their_noise_whatever_is_heard(clips):
    batch = AVBatch.collate([prepared(clips[0])])
    state = torch.get_rng_state()
    quiet, loud = (
        torch.stack(
            list(
                latent_draws(Ears(), batch, torch.full((1, 5, 128), v), latents="sample", samples=3)
            )
        )
        for v in (0.0, 1.0)
    )
    torch.testing.assert_close(loud - quiet, torch.ones_like(quiet))
    assert not torch.equal(quiet[0], quiet[1])
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are used up


def test_mean_is_of_probabilities():
    samples = torch.logit(torch.tensor([0.2, 0.8, 0.9])).reshape(3, 1, 1, 1, 1, 1)
    assert torch.sigmoid(MaskTask().decode(samples)["logits"]).item() == pytest.approx(1.9 / 3)
    assert torch.equal(MaskTask().decode(samples[:1])["logits"], samples[0])


def test_models_are_left_as_they_were():
    one, two = Ears().train(), Ears().eval()

    def fail_inside():
        with eval_mode(one, None, two):
            assert not one.training
            assert not torch.is_grad_enabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert one.training
    assert not two.training


@pytest.mark.parametrize("count", [2, 3, 50])
def test_derangement_moves_everything(count):
    orders = [derangement(count, seed) for seed in range(5)]
    for order in orders:
        assert sorted(order) == list(range(count))
        assert all(i != j for i, j in enumerate(order))
    assert orders[0] == derangement(count, 0)
    with pytest.raises(UserError, match="at least two"):
        derangement(1, 0)
