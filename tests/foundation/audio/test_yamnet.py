"""YAMNet against TensorFlow's own run of it: yamnet.npz holds its answers to `_sound`, see tools/convert_yamnet.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ecmvae.audio.encoder import build_audio_encoder
from ecmvae.errors import UserError
from ecmvae.foundation.audio.yamnet import ProjectedYAMNet, YAMNet

REFERENCE = np.load(Path(__file__).parent / "yamnet.npz")


def _sound() -> torch.Tensor:
    """Three seconds of a rising tone in noise, as the reference was made from."""
    time = np.arange(48_000) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(time))
    sound = 0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) + 0.02 * noise
    return torch.from_numpy(sound.astype(np.float32))


@pytest.fixture(scope="module")
def yamnet() -> YAMNet:
    return build_audio_encoder("yamnet").eval()


def test_the_network_is_the_released_one_in_size() -> None:
    encoder = YAMNet()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 3_740_425
    assert encoder.dim == 1024


def test_its_names_are_audiosets_in_their_order(yamnet: YAMNet) -> None:
    assert len(yamnet.names) == len(set(yamnet.names)) == 521
    # numbers of the released yamnet_class_map.csv
    known = {0: "Speech", 69: "Dog", 132: "Music", 186: "Violin, fiddle", 494: "Silence"}
    assert {number: yamnet.names[number] for number in known} == known
    assert yamnet.names[-1] == "Field recording"


def test_log_mel_patches_are_tensorflows(yamnet: YAMNet) -> None:
    patches = yamnet.front_end(_sound().reshape(3, 16_000))
    assert patches.shape == (3, 1, 96, 64)
    # second 0 is the first of TensorFlow's patches
    assert np.abs(patches[0, 0].numpy() - REFERENCE["log_mel"]).max() < 1e-4


@torch.no_grad()
def test_embeddings_and_scores_are_tensorflows_but_for_16_bits(yamnet: YAMNet) -> None:
    patch = torch.from_numpy(REFERENCE["log_mel"])[None, None]
    assert np.abs(yamnet(patch)[0].numpy() - REFERENCE["embedding"]).max() < 0.02
    assert np.abs(yamnet.listen(patch)[0].numpy() - REFERENCE["scores"]).max() < 0.005


def test_it_hears_silence_as_silence(yamnet: YAMNet) -> None:
    silence = yamnet.listen(yamnet.front_end(torch.zeros(1, 16_000)))[0]
    assert yamnet.names[int(silence.argmax())] == "Silence"


def test_weights_are_read_from_a_folder_and_others_refused(tmp_path: Path) -> None:
    given = YAMNet()
    save_file(given.state_dict(), tmp_path / "model.safetensors")
    found = build_audio_encoder("yamnet", str(tmp_path))
    assert torch.equal(found.network.conv_stem.weight, given.network.conv_stem.weight)
    save_file({"odd": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of YAMNet") as raised:
        build_audio_encoder("yamnet", str(tmp_path))
    assert "\n" not in str(raised.value)


def test_the_projected_form_learns_a_layer_and_nothing_else() -> None:
    encoder = build_audio_encoder("yamnet_128").train()
    assert isinstance(encoder, ProjectedYAMNet)
    assert not encoder.network.training
    trained = [name for name, each in encoder.named_parameters() if each.requires_grad]
    assert trained
    assert all(name.startswith("projection.") for name in trained)
    patches = encoder.front_end(_sound().reshape(3, 16_000))
    embeddings, scores = encoder.eval().hear(patches)
    assert embeddings.shape == (3, 128)
    assert (embeddings >= 0).all()
    assert torch.equal(scores, build_audio_encoder("yamnet").eval().listen(patches))
