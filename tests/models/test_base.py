"""Objects from outside the package: an encoder with another front end, a fusion, a model without configuration."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ecmvae.audio.encoder import AudioEncoder, build_audio_encoder
from ecmvae.config import Config, config_from_dict
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, TPAVIBaseline, build_model
from ecmvae.models.checkpoint import load_model, save_model
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.normalisation import IMAGENET


class Energy:
    """Two seconds at 8 kHz, in 20 windows."""

    name, sample_rate, seconds = "energy", 8000, 2.0

    def __call__(self, waveforms: Tensor) -> Tensor:
        return waveforms.unflatten(1, (20, -1)).square().mean(2)


class Encoder768(AudioEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.front_end, self.dim = Energy(), 768
        self.layer = nn.Linear(20, 768)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


class DuckEncoder(nn.Module):
    """Has what an audio encoder has, without being an `AudioEncoder`."""

    front_end, dim = Energy(), 20

    def forward(self, features: Tensor) -> Tensor:
        return features


class AddFusion(nn.Module):
    """Add a projection of the audio to every pixel."""

    def __init__(self, channels: int, audio_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(audio_dim, channels)

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return visual + self.project(audio)[..., None, None], audio


def _backbone() -> VisualBackbone:
    return VisualBackbone("efficientnet_lite0", image_size=32)


def _config(**model: object) -> Config:
    values = {
        "visual": {"name": "efficientnet_lite0"},
        "channels": 8,
        "latent": {"dim": 2},
        **model,
    }
    return config_from_dict({"model": values, "data": {"image_size": 32}})


@pytest.mark.parametrize("network", [ECMVAE, TPAVIBaseline])
def test_every_width_follows_the_audio_encoder(network: type) -> None:
    model = network(_backbone(), Encoder768(), image_size=32, channels=8)
    frames, waveforms = torch.randn(1, 2, 3, 32, 32), torch.randn(2, 16000)
    assert model.front_end.sample_rate == 8000
    audio = model.encode_audio(model.front_end(waveforms).unsqueeze(0))
    assert audio.shape == (1, 2, 768)
    masks = torch.ones(1, 2, 1, 32, 32)
    assert model(frames, audio, masks).logits.shape == (1, 2, 1, 32, 32)


def test_an_audio_encoder_need_not_be_a_subclass() -> None:
    features = torch.rand(1, 2, 20)
    for encoder in (
        DuckEncoder(),
        build_audio_encoder(DuckEncoder),
        build_audio_encoder(DuckEncoder()),
    ):
        model = ECMVAE(_backbone(), encoder, image_size=32, channels=8)
        assert model.audio_dim == 20
        assert torch.equal(model.encode_audio(features), features)


class WideEncoder(Encoder768):
    """Declares other embeddings than it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 128


class OtherMaps(nn.Module):
    """Declares other channels than its maps have."""

    channels = (8, 16, 24, 32)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        n, size = len(frames), frames.shape[-1]
        return tuple(
            torch.zeros(n, width, size // s, size // s)
            for width, s in zip((8, 16, 24, 40), (4, 8, 16, 32), strict=True)
        )


@pytest.mark.parametrize("network", [ECMVAE, TPAVIBaseline])
def test_a_wrong_width_is_told_from_the_first_output(network: type) -> None:
    model = network(_backbone(), WideEncoder(), image_size=32, channels=8)
    with pytest.raises(
        UserError,
        match=r"^WideEncoder declares embeddings of width 128 \(\.dim\), but returns \(n, 768\)",
    ):
        model.encode_audio(torch.rand(1, 2, 20))
    model = network(OtherMaps(), Encoder768(), image_size=32, channels=8)
    with pytest.raises(
        UserError, match=r"^OtherMaps declares maps of .*\(32, 1, 1\)\].*\(40, 1, 1\)\]"
    ):
        model(torch.randn(1, 2, 3, 32, 32), torch.randn(1, 2, 768))


def test_matching_of_unequal_widths_names_the_remedy() -> None:
    config = _config()
    model = ECMVAE(_backbone(), Encoder768(), image_size=32, channels=8)
    objective = Objective.from_config(
        replace(config, loss=replace(config.loss, audio_visual_matching=0.5))
    )
    masks = torch.ones(1, 2, 1, 32, 32)
    output = model(torch.randn(1, 2, 3, 32, 32), torch.randn(1, 2, 768), masks)
    with pytest.raises(
        UserError,
        match=r"compares 8 visual channels with 768 audio ones: set model\.channels to 768",
    ):
        objective(output, masks)


def test_a_fusion_may_be_a_class() -> None:
    model = ECMVAE(_backbone(), Encoder768(), image_size=32, channels=8, fusion=AddFusion).eval()
    frames, audio = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 2, 768)
    assert [type(block) for block in model.fusion] == [AddFusion] * 4
    with torch.no_grad():
        loud, silent = (model(frames, each, latents="mean").logits for each in (audio, 0 * audio))
    assert not torch.equal(loud, silent)
    with pytest.raises(UserError, match="must be a name or a class"):
        ECMVAE(_backbone(), image_size=32, channels=8, fusion=AddFusion(8, 128))
    with pytest.raises(UserError, match=r"unknown fusion 'tpav'.*did you mean tpavi"):
        ECMVAE(_backbone(), image_size=32, channels=8, fusion="tpav")


def test_a_model_that_no_configuration_describes_has_defaults() -> None:
    model = ECMVAE(_backbone(), image_size=32, channels=8)
    assert (model.config, model.class_names, model.front_end) == (None, (), None)
    assert (model.image_size, model.num_frames, model.hop_seconds, model.audio_dim) == (
        32,
        5,
        1.0,
        128,
    )
    assert model.normalisation == model.backbone.normalisation
    assert ECMVAE(_PlainBackbone(), image_size=32, channels=8).normalisation == IMAGENET
    model.config = config_from_dict({"data": {"num_frames": 10, "hop_seconds": 0.5}})
    assert (model.num_frames, model.hop_seconds) == (10, 0.5)


class _PlainBackbone(nn.Module):
    channels = (4, 4, 4, 4)


def test_an_object_of_the_wrong_kind_says_what_it_lacks() -> None:
    with pytest.raises(
        UserError, match=r"Linear is not an audio encoder: it lacks \.front_end and \.dim"
    ):
        ECMVAE(_backbone(), nn.Linear(2, 2), image_size=32)
    with pytest.raises(
        UserError, match=r"audio_dim=128, but Encoder768 has embeddings of width 768"
    ):
        ECMVAE(_backbone(), Encoder768(), audio_dim=128, image_size=32)
    with pytest.raises(UserError, match=r"Linear is not a visual backbone: it lacks \.channels"):
        ECMVAE(nn.Linear(2, 2), image_size=32)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a user wrote."""
    module = types.ModuleType("my_parts")
    module.Encoder768, module.AddFusion = Encoder768, AddFusion  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_parts", module)


@pytest.mark.parametrize("hears", [True, False])
def test_a_configuration_names_parts_by_import_path(
    outside: None, tmp_path: Path, hears: bool
) -> None:
    audio = {"name": "my_parts:Encoder768", "frozen": not hears}
    config = _config(audio=audio, fusion={"kind": "my_parts:AddFusion"})
    model = build_model(config.model, image_size=32, with_audio_encoder=hears).eval()
    assert (model.audio_encoder is not None) == hears
    folder = save_model(model, tmp_path / "m", config)
    with pytest.raises(
        UserError, match=r"path \(my_parts:AddFusion, my_parts:Encoder768\): pass trust_code"
    ):
        load_model(folder)
    with pytest.raises(UserError, match="trust_code"):
        ECMVAE.from_pretrained(folder)
    frames, embedding = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 2, 768)
    again = load_model(folder, trust_code=True)
    with torch.no_grad():
        assert torch.equal(
            *(each(frames, embedding, latents="mean").logits for each in (model, again))
        )


def test_an_encoder_that_is_left_out_costs_no_random_numbers() -> None:
    weights = []
    for name in ("vggish", "vggish_small"):
        torch.manual_seed(0)
        weights.append(build_model(_config(audio={"name": name}).model, image_size=32).state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "ecmvea"}, "unknown model 'ecmvea'.*did you mean ecmvae"),
        (
            {"audio": {"name": "vgish", "frozen": False}},
            "unknown audio encoder 'vgish'.*did you mean vggish",
        ),
        ({"audio": {"name": "vgish"}}, "unknown audio encoder 'vgish'.*did you mean vggish"),
        ({"fusion": {"kind": "gat"}}, "unknown fusion 'gat'.*did you mean gate"),
        ({"fusion": {"kind": "no_such:Fusion"}}, "cannot import no_such:Fusion"),
    ],
)
def test_unknown_names_list_the_right_ones(model: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_model(_config(**model).model, image_size=32)
