"""Foundation models as audio encoders and visual backbones: their front ends, their weights, and a training run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ecmvae.audio import AUDIO_ENCODERS
from ecmvae.audio.encoder import build_audio_encoder, window_samples
from ecmvae.cli import main
from ecmvae.config import load_config
from ecmvae.errors import UserError
from ecmvae.foundation.audio.ast import ASTFrontEnd
from ecmvae.foundation.audio.clap import CLAPFrontEnd
from ecmvae.foundation.audio.pe_a_frame import PEAFrameFrontEnd
from ecmvae.hub.catalogue import CATALOGUE
from ecmvae.models import build_model
from ecmvae.models.checkpoint import load_model
from ecmvae.training.embeddings import EmbeddingCache
from ecmvae.training.settings import FOUNDATION, without_effect
from ecmvae.visual import BACKBONES
from ecmvae.visual.build import build_backbone

CONFIGS = Path(__file__).parents[2] / "configs"
SEES = ("dinov2", "dinov3_vit", "dinov3_convnext", "sam2_hiera")
HEARS = ("ast", "clap", "pe_a_frame")


def _sound(rate: int, seconds: float) -> np.ndarray:
    """Two waveforms: a chirp with noise, and quiet noise; (2, rate * seconds) float32."""
    generator = np.random.default_rng(0)
    time = np.arange(round(rate * seconds)) / rate
    noise = generator.normal(size=(2, len(time)))
    return np.stack(
        [0.3 * np.sin(900 * time * (1 + time)) + 0.01 * noise[0], 1e-3 * noise[1]]
    ).astype(np.float32)


@pytest.mark.parametrize("seconds", [2.0, 0.4, 10.24])
def test_asts_front_end_is_its_feature_extractor(seconds: float) -> None:
    from transformers import ASTFeatureExtractor

    sound = _sound(16_000, seconds)
    theirs = ASTFeatureExtractor()(
        list(sound), sampling_rate=16_000, return_tensors="pt"
    ).input_values
    ours = ASTFrontEnd()(torch.from_numpy(sound))
    assert ours.shape == theirs.shape == (2, 1024, 128)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_claps_front_end_is_its_feature_extractor() -> None:
    from transformers import ClapFeatureExtractor

    theirs = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14_000)
    front_end = CLAPFrontEnd.of(theirs.to_dict())
    for seconds in (2.0, 3.7, 10.0):  # repeated whole, repeated with a rest of zeros, as it is
        sound = _sound(48_000, seconds)
        wanted = theirs(list(sound), sampling_rate=48_000, return_tensors="pt").input_features
        ours = front_end(torch.from_numpy(sound))
        assert ours.shape == wanted.shape == (2, 1, 1001, 64)
        torch.testing.assert_close(ours, wanted.float(), atol=2e-3, rtol=1e-4)


def test_pe_a_frames_front_end_is_its_feature_extractor() -> None:
    from transformers import PeAudioFeatureExtractor

    front_end = PEAFrameFrontEnd()
    sound = _sound(48_000, front_end.seconds)
    theirs = PeAudioFeatureExtractor()(list(sound), sampling_rate=48_000, return_tensors="pt")
    np.testing.assert_array_equal(
        front_end(torch.from_numpy(sound)).numpy(), np.stack(theirs["input_values"])
    )
    assert np.asarray(theirs["padding_mask"]).all()


def test_ears_embed_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import ASTModel, ClapModel, PeAudioFrameLevelModel

    ears = {kind: build_audio_encoder(kind, str(hub_folders[kind])).eval() for kind in HEARS}
    heard = {
        kind: ear.front_end(
            torch.from_numpy(_sound(ear.front_end.sample_rate, ear.front_end.seconds))
        )
        for kind, ear in ears.items()
    }
    with torch.no_grad():
        ours = {kind: ears[kind](heard[kind]) for kind in HEARS}
        assert all(ours[kind].shape == (2, ears[kind].dim) for kind in HEARS)
        ast = ASTModel.from_pretrained(hub_folders["ast"])
        torch.testing.assert_close(ours["ast"], ast(heard["ast"]).pooler_output)
        clap = ClapModel.from_pretrained(hub_folders["clap"])
        torch.testing.assert_close(
            ours["clap"], clap.get_audio_features(heard["clap"]).pooler_output
        )
        pe = PeAudioFrameLevelModel.from_pretrained(hub_folders["pe_a_frame"])
        frames = pe.get_audio_embeds(heard["pe_a_frame"])  # 100 of 40 ms
        # a second around the middle, 12.5 a side
        torch.testing.assert_close(ours["pe_a_frame"], frames[:, 38:62].mean(1))


def test_taggers_score_texts_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer, ClapModel, PeAudioFrameLevelModel

    ears = {
        kind: AUDIO_ENCODERS.get(kind).from_weights(str(hub_folders[kind]), texts=True)
        for kind in HEARS[1:]
    }
    heard = {
        kind: ear.front_end(
            torch.from_numpy(_sound(ear.front_end.sample_rate, ear.front_end.seconds))
        )
        for kind, ear in ears.items()
    }
    concepts = ["dog", "police car"]
    with torch.no_grad():
        clap = ClapModel.from_pretrained(hub_folders["clap"]).eval()
        texts = [f"the sound of {text}" for text in (*concepts, "silence", "noise")]
        words = AutoTokenizer.from_pretrained(hub_folders["clap"])(
            texts, padding=True, return_tensors="pt"
        )
        logits = clap(
            **{key: words[key] for key in ("input_ids", "attention_mask")},
            input_features=heard["clap"],
        )
        power = logits.logits_per_audio.exp()
        wanted = power[:, :2] / (power[:, :2] + power[:, 2:].sum(1, keepdim=True))
        torch.testing.assert_close(
            ears["clap"].activities(ears["clap"].listen(heard["clap"]), concepts), wanted
        )

        pe = PeAudioFrameLevelModel.from_pretrained(hub_folders["pe_a_frame"]).eval()
        for network in (pe, ears["pe_a_frame"].network):
            network.text_audio_logit_scale.fill_(3.0)
            network.text_audio_logit_bias.fill_(-1.0)
        words = AutoTokenizer.from_pretrained(hub_folders["pe_a_frame"])(
            concepts, padding=True, return_tensors="pt"
        )
        logits = pe(
            words.input_ids, heard["pe_a_frame"], attention_mask=words.attention_mask
        ).logits_audio_text
        # three of the 100 frames of 40 ms on each side of the middle
        wanted = logits[:, :, 47:53].mean(2).sigmoid()
        ear = ears["pe_a_frame"]
        torch.testing.assert_close(
            ear.activities(ear.listen(heard["pe_a_frame"]), concepts), wanted
        )


def test_eyes_see_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import Dinov2Model, Sam2Model

    frames = torch.randn(2, 3, 64, 64)
    eyes = {
        kind: build_backbone(kind, weights=str(hub_folders[kind]), image_size=64).eval()
        for kind in SEES
    }
    with torch.no_grad():
        maps = {kind: eyes[kind](frames) for kind in SEES}
        for found in maps.values():
            assert [each.shape[-1] for each in found] == [16, 8, 4, 2]
        dinov2 = Dinov2Model.from_pretrained(hub_folders["dinov2"])
        shrunk = nn.functional.interpolate(frames, (56, 56), mode="bilinear")
        last = dinov2(shrunk).last_hidden_state[:, 1:].reshape(2, 4, 4, 16).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps["dinov2"][3], nn.functional.avg_pool2d(last, 2))
        sam = Sam2Model.from_pretrained(hub_folders["sam2_hiera"])
        stages = sam.vision_encoder.backbone(frames).intermediate_hidden_states
        for mine, theirs in zip(maps["sam2_hiera"], stages, strict=True):
            torch.testing.assert_close(mine, theirs.permute(0, 3, 1, 2))
    assert eyes["dinov2"].normalisation.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize("kind", [*SEES, *HEARS])
def test_never_silently_random(kind: str, hub_folders: dict[str, Path], tmp_path: Path) -> None:
    build = build_backbone if kind in BACKBONES else build_audio_encoder
    with pytest.raises(UserError, match=r"is not in the hub's cache: ecmvae fetch [a-z0-9-]+$"):
        build(kind)
    other = hub_folders["clipseg"]
    with pytest.raises(UserError, match="does not fit: it is a 'clipseg'"):
        build(kind, weights=str(other))
    with pytest.raises(UserError, match=r"lacks config\.json and model\.safetensors"):
        build(kind, weights=str(tmp_path))

    # The configuration of a wider network over these weights, and weights of which one is missing.
    broken = tmp_path / kind
    shutil.copytree(hub_folders[kind], broken)
    from safetensors.torch import load_file, save_file

    state = load_file(broken / "model.safetensors")
    first = next(
        name for name in state if name.endswith("weight") and not name.startswith("layer_norm.")
    )
    save_file(
        {**state, first: torch.zeros(*(size + 1 for size in state[first].shape))},
        broken / "model.safetensors",
    )
    with pytest.raises(UserError, match=r"does not fit \w+: tensors are 1 of another shape \("):
        build(kind, weights=str(broken))
    kept = {
        name: value
        for name, value in state.items()
        if "layernorm" not in name and "norm" not in name
    }
    if len(kept) < len(state):
        save_file(kept, broken / "model.safetensors")
        with pytest.raises(UserError, match=r"does not fit \w+: tensors are \d+ missing \("):
            build(kind, weights=str(broken))
    (broken / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="cannot be read"):
        build(kind, weights=str(broken))
    random = build(kind, weights=str(broken), pretrained=False)  # wanted: the architecture alone
    assert any(parameter.std() > 0 for parameter in random.parameters() if len(parameter) > 1)


def test_settings_know_every_foundation_model() -> None:
    config = load_config((), {"model.visual.pretrained": False, "model.audio.pretrained": False})
    assert without_effect(config) == {
        "model.visual.pretrained": "model.visual.name=pvt_v2_b5",
        "model.audio.pretrained": "model.audio.name=vggish",
    }
    assert set(FOUNDATION) == {*SEES, *HEARS}


def test_senses_lie_over_every_recipe_of_avsbench() -> None:
    for layer in sorted((CONFIGS / "senses").glob("*.yaml")):
        for recipe in ("s4_pvt", "ms3_pvt", "ms3_resnet50", "s4_tpavi", "avss_pvt"):
            config = load_config([CONFIGS / f"{recipe}.yaml", layer])
            assert config.model.visual.frozen
            assert config.model.audio.frozen
            assert config.loss.audio_visual_matching == 0
            assert (config.data.hop_seconds, config.model.visual.drop_path) == (1.0, 0.0)
            assert CATALOGUE[config.model.visual.weights or ""].kind == config.model.visual.name
            assert CATALOGUE[config.model.audio.weights or ""].kind == config.model.audio.name


_SLOW = [
    pytest.param(recipe, marks=pytest.mark.slow) for recipe in ("dinov2_ast", "sam2_pe_a_frame")
]


@pytest.mark.parametrize("recipe", ["dinov3_clap", *_SLOW])
def test_a_run_on_frozen_senses_and_what_it_leaves(
    recipe: str, hub_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = CONFIGS / "senses" / f"{recipe}.yaml"
    wanted = load_config(layer).model
    copies = {kind: tmp_path / kind for kind in (wanted.visual.name, wanted.audio.name)}
    for kind, folder in copies.items():
        shutil.copytree(hub_folders[kind], folder)
    words = ["train", "--config", str(CONFIGS / "debug.yaml"), "--config", str(layer)]
    words += ["--model.visual.weights", str(copies[wanted.visual.name])]
    words += ["--model.audio.weights", str(copies[wanted.audio.name])]
    words += [
        "--data.image_size",
        "64",
        "--data.length",
        "4",
        "--data.val_length",
        "2",
        "--data.workers",
        "0",
    ]
    words += ["--train.epochs", "1", "--train.out", str(tmp_path / "runs"), "--train.device", "cpu"]
    words += ["--data.feature_cache", str(tmp_path / "features"), "--train.loggers", "[]"]
    assert main(words) == 0, capsys.readouterr().err
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / "features").iterdir())
    assert kept == ["embeddings", "features"]

    for folder in copies.values():  # the run's folder is all that a model needs
        shutil.rmtree(folder)
    (run,) = (tmp_path / "runs").iterdir()
    model = load_model(run)
    original = build_backbone(
        wanted.visual.name, weights=str(hub_folders[wanted.visual.name]), image_size=64
    )
    for mine, theirs in zip(
        model.backbone.state_dict().values(), original.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert model.audio_encoder is not None
    ear = build_audio_encoder(wanted.audio.name, str(hub_folders[wanted.audio.name]))
    waveforms = torch.from_numpy(_sound(ear.front_end.sample_rate, ear.front_end.seconds))
    assert len(waveforms[0]) == window_samples(model.front_end)
    with torch.no_grad():
        assert torch.equal(
            model.audio_encoder(model.front_end(waveforms)), ear.eval()(ear.front_end(waveforms))
        )


def test_embeddings_are_computed_once_and_kept(
    hub_folders: dict[str, Path], tmp_path: Path
) -> None:
    config = load_config(
        (),
        {
            "model.visual.name": "pvt_v2_b0",
            "model.audio.name": "ast",
            "model.audio.weights": str(hub_folders["ast"]),
        },
    )
    model = build_model(config.model, image_size=64).eval()
    assert EmbeddingCache.serves(model)
    cache = EmbeddingCache(model, tmp_path)
    features = torch.randn(3, 2, 256, 32)
    features[2] = features[0]
    torch.testing.assert_close(cache(features), model.encode_audio(features))
    assert cache.computed == 2 + 1  # of a batch, equal clips are computed together
    again = EmbeddingCache(model, tmp_path)
    torch.testing.assert_close(again(features[[1]]), model.encode_audio(features[[1]]))
    assert again.computed == 0
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(b"cut")
    damaged = EmbeddingCache(model, tmp_path)
    torch.testing.assert_close(damaged(features), cache(features))
    assert damaged.computed == 3


def test_architectures_of_strangers(hub_folders: dict[str, Path], tmp_path: Path) -> None:
    for file, content in (
        ("config.json", {"model_type": "dinov2", "hidden_size": "wide"}),
        ("config.json", {"model_type": "dinov2", "num_hidden_layers": 2}),
        ("config.json", ["model_type"]),
        ("preprocessor_config.json", {"image_mean": [0.5], "image_std": [0.0, 1, 1]}),
    ):
        folder = tmp_path / "stranger"
        shutil.copytree(hub_folders["dinov2"], folder, dirs_exist_ok=True)
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(UserError) as raised:
            build_backbone("dinov2", weights=str(folder), pretrained=False, image_size=64)
        assert "\n" not in str(raised.value)
        shutil.copytree(hub_folders["dinov2"], folder, dirs_exist_ok=True)
    config = json.loads((hub_folders["dinov2"] / "config.json").read_text())
    code = {
        **config,
        "auto_map": {"AutoModel": "evil.Model"},
        "attn_implementation": "someone/kernel",
    }
    (folder / "config.json").write_text(json.dumps(code))
    backbone = build_backbone("dinov2", weights=str(folder), image_size=64)
    assert not {"auto_map", "attn_implementation"} & {*backbone.architecture["network"]}
