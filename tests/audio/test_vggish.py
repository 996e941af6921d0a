from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecmvae.audio.encoder import build_audio_encoder, load_audio_weights
from ecmvae.audio.vggish import VGGish, VGGishSmall
from ecmvae.errors import UserError


def test_vggish_has_the_released_shapes() -> None:
    with torch.device("meta"):
        state = VGGish().state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 72_141_184
    layers = [
        *(f"features.{i}" for i in (0, 3, 6, 8, 11, 13)),
        *(f"embeddings.{i}" for i in (0, 2, 4)),
    ]
    assert set(state) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert state["embeddings.0.weight"].shape == (4096, 12288)


@pytest.mark.parametrize("name", ["vggish", "vggish_small"])
def test_embeddings_are_128_numbers_at_least_zero(name: str) -> None:
    encoder = build_audio_encoder(name).eval()
    with torch.no_grad():
        embedding = encoder(torch.randn(2, 1, 96, 64))
    assert embedding.shape == (2, 128)
    assert (embedding >= 0).all()


def test_weights_round_trip_through_a_folder_and_a_file(tmp_path: Path) -> None:
    source, target = VGGishSmall(), VGGishSmall()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    torch.save(source.state_dict(), tmp_path / "small.pth")
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "small.pth"):
        load_audio_weights(target, path)
        assert all(
            torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True)
        )


def test_wrong_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="audio weights not found"):
        load_audio_weights(VGGishSmall(), tmp_path / "none.pth")
    save_file({"odd": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="does not hold the weights of VGGishSmall") as raised:
        load_audio_weights(VGGishSmall(), tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="choose from vggish, vggish_small"):
        build_audio_encoder("vgg")


class _Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_with_code_is_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(_Evil(), tmp_path / "evil.pth")
    with pytest.raises(UserError):
        load_audio_weights(VGGishSmall(), tmp_path / "evil.pth")
    assert "never run" not in capsys.readouterr().out
