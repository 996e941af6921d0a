"""What runs a model: the choice, equal answers, and prediction in a process without PyTorch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel
from onnx import TensorProto, helper
from onnx_listener import write_listener

from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.hub.find import default_model
from ecmvae.hub.named_models import GRAPH_FILE
from ecmvae.prediction import engine as module
from ecmvae.prediction.engine import Engine, open_engine
from ecmvae.prediction.onnx_engine import OnnxEngine, cached_graph, graphs_of
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.torch_engine import TorchEngine

EXAMPLE = Path(__file__).parents[2] / "docs" / "assets" / "example.mp4"
ONCE, SAMPLED = PredictorOptions(), PredictorOptions(samples=2)


def test_the_packaged_model_runs_without_pytorch_and_others_with_it() -> None:
    assert open_engine(None, "cpu", ONCE).name == "onnx"
    assert open_engine(None, "cpu", SAMPLED).name == "eager"
    assert open_engine(None, "cpu", PredictorOptions(half=True)).name == "eager"
    assert open_engine(None, "cpu", ONCE, engine="eager").name == "eager"
    assert open_engine(ListeningModel(32), "cpu", ONCE).name == "eager"


def test_a_gpu_speaks_for_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_gpu", lambda: True)
    assert open_engine(None, "auto", ONCE).name == "eager"
    assert open_engine(None, "cpu", ONCE).name == "onnx"


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(UserError, match=r"--engine onnx does not go with --samples above 1"):
        open_engine(None, "cpu", SAMPLED, engine="onnx")
    with pytest.raises(UserError, match=r"--engine onnx does not go with --device cuda"):
        open_engine(None, "cuda", ONCE, engine="onnx")
    with pytest.raises(UserError, match="not a module"):
        open_engine(ListeningModel(32), "cpu", ONCE, engine="onnx")


def test_an_engine_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"absence of onnxruntime \(pip install 'ecmvae\[onnx\]'\)"):
        open_engine(None, "cpu", ONCE, engine="onnx")
    with pytest.raises(UserError, match=r"cannot run here: pip install 'ecmvae\[onnx\]'"):
        open_engine(None, "cpu", ONCE)


def test_an_engine_from_outside_is_taken_as_it_is() -> None:
    engine: Engine = TorchEngine(ListeningModel(32), "cpu")
    assert VideoPredictor(engine).engine is engine


def test_more_samples_later_take_an_engine_that_draws_them() -> None:
    predictor = VideoPredictor(device="cpu")
    assert predictor.engine.name == "onnx"
    assert predictor.with_options(SAMPLED).engine.name == "eager"
    assert predictor.with_options(PredictorOptions(threshold=0.3)).engine is predictor.engine


def test_the_engines_give_the_same_probabilities() -> None:
    """On real film: 1e-4 of a probability, which half precision of the result would hide."""
    generator = np.random.default_rng(0)
    both = [open_engine(None, "cpu", ONCE, engine=name) for name in ("onnx", "eager")]
    frames = generator.standard_normal((2, 2, 3, 384, 384), np.float32)
    sound = generator.standard_normal((4, 16_000)).astype(np.float32) * 0.1
    logits = [
        each.logits(frames, each.features(sound).reshape(2, 2, 1, 96, 64), 1, 0) for each in both
    ]
    probabilities = [1 / (1 + np.exp(-each)) for each in logits]
    assert logits[0].shape == (1, 2, 2, 1, 384, 384)
    assert np.abs(probabilities[0] - probabilities[1]).max() < 1e-4
    masks = [
        VideoPredictor(each, options=PredictorOptions(fps=1.0)).predict(EXAMPLE).masks
        for each in both
    ]
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 1e-4


def test_the_graph_refuses_other_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "model"
    shutil.copytree(default_model(), folder)
    assert graphs_of(folder) == [folder / GRAPH_FILE]
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\0\1\2\3\4\5\6\7")
    with pytest.raises(
        UserError, match=r"model\.safetensors is damaged: .* export .*model\.onnx again"
    ):
        OnnxEngine(folder / GRAPH_FILE)
    with caplog.at_level("WARNING", "ecmvae"):
        assert open_engine(folder, "cpu", ONCE).name == "eager"
    assert "PyTorch runs the model instead" in caplog.text
    (folder / GRAPH_FILE).unlink()
    assert graphs_of(folder) == []


def test_an_export_that_somebody_put_into_the_folder_is_not_taken_for_its_model(
    tmp_path: Path,
) -> None:
    import onnx

    folder = tmp_path / "model"
    shutil.copytree(default_model(), folder)
    proto = onnx.load(folder / GRAPH_FILE)
    onnx.helper.set_model_props(proto, {"ecmvae.model": proto.metadata_props[0].value})
    onnx.save_model(proto, folder / GRAPH_FILE)
    assert open_engine(folder / GRAPH_FILE, "cpu", ONCE).name == "onnx"  # asked for by its own name
    assert open_engine(folder, "cpu", ONCE).name == "eager"


def test_the_cached_export_is_one_of_these_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in (("config.yaml", "a"), ("model.safetensors", "b")):
        (folder / name).write_text(text)
    before = cached_graph(folder)
    before.parent.mkdir(parents=True)
    before.touch()
    assert graphs_of(folder) == [before]
    (folder / "model.safetensors").write_text("c")
    assert graphs_of(folder) == []


def test_prediction_imports_no_pytorch(tmp_path: Path) -> None:
    """A whole `ecmvae predict` in a process in which PyTorch cannot be imported."""
    write_video(
        tmp_path / "a.mp4", flash_frames(count=24, flash=4), FPS, beep(seconds=1.0), SAMPLE_RATE
    )
    lacking = (
        "torch",
        "torchvision",
        "torchaudio",
        "timm",
        "lightning",
        "torchmetrics",
        "transformers",
    )
    code = f"""
import sys
for name in {lacking!r}:
    sys.modules[name] = None
from ecmvae.cli import main
code = main(["predict", "a.mp4", "--out", "out", "--masks", "--coco", "--npz", "--cutout"])
import numpy as np
import ecmvae
sound = np.zeros(48_000, np.float32)
result = ecmvae.VideoPredictor()(np.zeros((8, 48, 64, 3), np.uint8), waveform=sound, sample_rate=48_000)
assert result.masks.shape == (8, 48, 64)
try:
    ecmvae.load_model
except ImportError as error:
    assert str(error) == "ecmvae.load_model needs PyTorch: pip install 'ecmvae[torch]'"
else:
    raise AssertionError
assert not [name for name in sys.modules if name.partition(".")[0] in {lacking!r} and sys.modules[name]]
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.overlay.mp4", "a.masks", "a.coco.json", "a.npz", "a.cutout.webm",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "a.coco.json").read_text())["images"]


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (TensorProto.INT64, [1, 1, 1, 32, 32], "does not run on what it says to take"),
        (TensorProto.FLOAT, [1], r"gives logits float32 \(1,\)"),
        (TensorProto.FLOAT, [1, 1, 1, 33, 33], r"gives logits float32 \(1, 1, 1, 33, 33\)"),
        (TensorProto.FLOAT, [1, 1, 0, 32, 32], r"gives logits float32 \(1, 1, 0, 32, 32\)"),
    ],
)
def test_b18_an_onnx_file_that_takes_or_gives_other_than_it_says(
    tmp_path: Path, kind: int, shape: list[int], message: str
) -> None:
    path = write_listener(tmp_path / "model.onnx")
    told = onnx.load(path).metadata_props[0].value
    inputs = [
        helper.make_tensor_value_info("frames", kind, ["b", "t", 3, "s", "s"]),
        helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["b", "t", 1, 96, 64]),
    ]
    value = helper.make_tensor("value", TensorProto.FLOAT, shape, [0.0] * int(np.prod(shape)))
    node = helper.make_node("Constant", [], ["logits"], value=value)
    graph = helper.make_graph(
        [node], "liar", inputs, [helper.make_tensor_value_info("logits", 1, None)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"ecmvae.model": told})
    path.write_bytes(model.SerializeToString())
    frames, audio = np.zeros((1, 1, 3, 32, 32), np.float32), np.zeros((1, 1, 1, 96, 64), np.float32)
    with pytest.raises(UserError, match=rf"model\.onnx {message}"):
        OnnxEngine(path).logits(frames, audio)
