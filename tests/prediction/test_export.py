"""Exported models agree with PyTorch, for any number of clips and frames."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from torch import Tensor, nn

from ecmvae.audio.encoder import build_audio_encoder
from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.config import load_config
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.models import ECMVAE, TPAVIBaseline, build_model
from ecmvae.prediction import export as module
from ecmvae.prediction.command import export
from ecmvae.prediction.export import DeterministicModel, export_onnx, quantise_onnx
from ecmvae.prediction.onnx_engine import OnnxEngine
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.normalisation import IMAGENET

SHAPES = [(1, 1), (2, 3), (3, 5), (1, 7)]


class TinyBackbone(VisualBackbone):
    """Four strided convolutions in place of a timm network: export takes seconds."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.channels = (8, 8, 8, 8)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    3 if scale == 0 else 8, 8, 4 if scale == 0 else 2, 4 if scale == 0 else 2
                ),
                nn.GELU(),
            )
            for scale in range(4)
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            frames = stage(frames)
            maps.append(frames)
        return tuple(maps)


@pytest.fixture(scope="module")
def model() -> ECMVAE:
    torch.manual_seed(0)
    model = ECMVAE(
        TinyBackbone(),
        build_audio_encoder("vggish_small"),
        image_size=64,
        channels=16,
        latent_dim=4,
        freeze_audio=False,
    )
    for (
        name,
        parameter,
    ) in model.named_parameters():  # blocks that start as the identity would prove nothing
        if name.endswith("out_norm.weight"):
            nn.init.ones_(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def program(model: ECMVAE) -> torch.export.ExportedProgram:
    """Traced once: both formats are written from it."""
    return module._program(model)


@pytest.fixture(scope="module")
def exported(
    model: ECMVAE, program: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_program", lambda _: program)
        export_onnx(model, path)
    return path


def logits_of(engine: OnnxEngine, pictures: Tensor, patches: Tensor) -> Tensor:
    return torch.from_numpy(engine.logits(pictures.numpy(), patches.numpy())[0])


def inputs(clips: int, frames: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(clips * 10 + frames)
    return torch.randn(clips, frames, 3, 64, 64), torch.randn(clips, frames, 1, 96, 64)


@pytest.mark.parametrize(("clips", "frames"), SHAPES)
def test_onnx_agrees_with_pytorch(model: ECMVAE, exported: Path, clips: int, frames: int) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    pictures, patches = inputs(clips, frames)
    with torch.no_grad():
        expected = DeterministicModel(model)(pictures, patches).numpy()
    (logits,) = session.run(None, {"frames": pictures.numpy(), "audio": patches.numpy()})
    assert expected.std() > 1e-3
    assert np.abs(logits - expected).max() < 1e-4


def test_predictor_runs_the_onnx_file(model: ECMVAE, exported: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    ours = VideoPredictor(model, "cpu").predict(tmp_path / "a.mp4")
    theirs = VideoPredictor(exported).predict(tmp_path / "a.mp4")
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 2e-3  # kept in half precision
    sampling = VideoPredictor(exported, options=PredictorOptions(samples=2))
    with pytest.raises(UserError, match="--samples 1"):
        sampling.predict(tmp_path / "a.mp4")


def test_int8_is_smaller_and_close(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path / "int8.onnx")
    # in place, as the command does it
    quantise_onnx(tmp_path / "int8.onnx", tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * exported.stat().st_size
    pictures, patches = inputs(2, 3)
    full, small = (
        logits_of(OnnxEngine(path), pictures, patches).flatten().numpy()
        for path in (exported, tmp_path / "int8.onnx")
    )
    assert np.corrcoef(full, small)[0, 1] > 0.9


def test_torch_export_and_safetensors(
    model: ECMVAE,
    program: torch.export.ExportedProgram,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr(module, "load_model", lambda _, trust_code: model)
    monkeypatch.setattr(module, "_program", lambda _: program)
    export("any", out=tmp_path / "m.pt2", format="torch-export")
    export("any", out=tmp_path / "m.safetensors", format="safetensors")
    loaded = torch.export.load(tmp_path / "m.pt2").module()
    for shape in SHAPES:
        pictures, patches = inputs(*shape)
        with torch.no_grad():
            assert torch.allclose(
                loaded(pictures, patches), DeterministicModel(model)(pictures, patches), atol=1e-5
            )
    weights = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert "m.pt2" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists"):
        export("any", out=tmp_path / "m.pt2")


@pytest.mark.parametrize("fusion", ["gate", "regions"])
def test_the_agreement_form_is_traced_for_any_number_of_clips(fusion: str) -> None:
    torch.manual_seed(0)
    audio, kind = build_audio_encoder("vggish_small"), "agreement"
    form = ECMVAE(
        TinyBackbone(),
        audio,
        image_size=64,
        channels=16,
        fusion=fusion,
        latent_kind=kind,
        latent_dim=4,
    ).eval()
    traced = module._program(form).module()
    for shape in SHAPES:
        pictures, patches = inputs(*shape)
        with torch.no_grad():
            expected = DeterministicModel(form)(pictures, patches)
            assert torch.allclose(traced(pictures, patches), expected, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.slow
def test_the_baseline_is_exported_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    baseline = TPAVIBaseline(
        TinyBackbone(), build_audio_encoder("vggish_small"), image_size=64, channels=16
    ).eval()
    for block in baseline.fusion:
        nn.init.ones_(block.out_norm.weight)
    export_onnx(baseline, tmp_path / "baseline.onnx")
    exported = OnnxEngine(tmp_path / "baseline.onnx")
    pictures, patches = inputs(2, 5)
    with torch.no_grad():
        expected = DeterministicModel(baseline)(pictures, patches)
    assert expected.std() > 1e-3
    assert (logits_of(exported, pictures, patches) - expected).abs().max() < 1e-4


def test_files_that_are_not_exports(tmp_path: Path, model: ECMVAE) -> None:
    import onnx

    with pytest.raises(UserError, match="not found"):
        OnnxEngine(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match="not a readable ONNX model"):
        OnnxEngine(tmp_path / "text.onnx")
    graph = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    onnx.save_model(graph, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="not written by ecmvae export"):
        OnnxEngine(tmp_path / "other.onnx")


def test_where_nothing_can_be_written_is_said_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_model", lambda checkpoint, trust_code: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        export("any", out=tmp_path / "file" / "model.onnx")


def test_the_front_end_and_normalisation_travel_along(exported: Path, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(exported)
    description = json.loads(proto.metadata_props[0].value)
    assert description["front_end"] == "vggish"
    description |= {
        "front_end": "other",
        "normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1.0]},
    }
    onnx.helper.set_model_props(proto, {"ecmvae.model": json.dumps(description)})
    onnx.save_model(proto, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="needs the audio front end 'other'"):
        OnnxEngine(tmp_path / "other.onnx")
    model = OnnxEngine(tmp_path / "other.onnx", front_end=VGGishFrontEnd())
    assert model.normalisation.std == (0.25, 0.5, 1.0)
    assert VideoPredictor(model).engine is model


def test_a_file_of_an_older_version_has_vggish_and_imagenet(exported: Path, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(exported)
    config = {"data": {"image_size": 64, "num_frames": 3}}
    old = {
        "ecmvae.config": json.dumps(config),
        "ecmvae.class_names": json.dumps(["background", "cat"]),
    }
    onnx.helper.set_model_props(proto, old)
    onnx.save_model(proto, tmp_path / "old.onnx")
    model = OnnxEngine(tmp_path / "old.onnx")
    assert (model.image_size, model.num_frames, model.class_names) == (64, 3, ("background", "cat"))
    assert (model.normalisation, model.sample_rate, model.seconds) == (IMAGENET, 16_000, 1.0)
    assert model.features(np.zeros((1, 16_000), np.float32)).shape == (1, 1, 96, 64)


def test_a_model_without_an_audio_encoder_is_refused(tmp_path: Path) -> None:
    silent = ECMVAE(TinyBackbone(), None, image_size=64, channels=16, latent_dim=4)
    with pytest.raises(UserError, match="no audio encoder"):
        export_onnx(silent, tmp_path / "a.onnx")


@pytest.mark.slow
def test_classes_and_their_names_travel_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ECMVAE(
        TinyBackbone(),
        build_audio_encoder("vggish_small"),
        image_size=32,
        channels=8,
        num_classes=3,
        latent_kind="none",
        fusion="none",
        freeze_audio=False,
    ).eval()
    model.class_names = ("background", "cat", "dog")
    export_onnx(model, tmp_path / "model.onnx")
    exported = OnnxEngine(tmp_path / "model.onnx")
    assert exported.class_names == model.class_names
    frames, log_mel = torch.randn(2, 4, 3, 32, 32), torch.randn(2, 4, 1, 96, 64)
    with torch.no_grad():
        expected = model(frames, model.encode_audio(log_mel)).logits
    got = logits_of(exported, frames, log_mel)
    assert got.shape == (2, 4, 3, 32, 32)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_regions_named_by_a_classifier_are_exported_alike(tmp_path: Path) -> None:
    """Dividing by a number of one's own in a pooling was lost in translation once."""
    torch.manual_seed(0)
    settings = {
        "model.visual.name": "efficientnet_lite0",
        "model.channels": 16,
        "model.audio.name": "vggish_small",
    }
    layers = Path(__file__).parents[2] / "configs" / "layers"
    config = load_config([layers / "agreement.yaml", layers / "regions.yaml"], settings)
    model = build_model(config.model, image_size=64, with_audio_encoder=True).eval()
    export_onnx(model, tmp_path / "regions.onnx")
    exported = OnnxEngine(tmp_path / "regions.onnx")
    pictures, patches = inputs(2, 5)
    with torch.no_grad():
        expected = DeterministicModel(model)(pictures, patches)
    assert expected.std() > 1e-3
    assert (logits_of(exported, pictures, patches) - expected).abs().max() < 1e-3
