"""--engine auto by measurement: when engines are measured, what is remembered, and what a damaged memory does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ecmvae.errors import UserError
from ecmvae.hub.find import default_model
from ecmvae.prediction import calibration as module
from ecmvae.prediction.calibration import load_calibrated, measured, pays
from ecmvae.prediction.engine import open_engine
from ecmvae.prediction.onnx_engine import OnnxEngine
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.remembered_engines import SWITCH, remember, remembered, remembered_file

EXAMPLE = Path(__file__).parents[2] / "docs" / "assets" / "example.mp4"
EAGER = {"onnx": 0.2, "eager": 0.1}
ONNX = {"onnx": 0.1, "eager": 0.2}


@pytest.fixture(autouse=True)
def _empty_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(SWITCH, "on")


@pytest.fixture
def identity() -> str:
    engine = open_engine(None, "cpu", PredictorOptions(), engine="onnx")
    assert isinstance(engine, OnnxEngine)
    return engine.identity


def told(figures: dict[str, float]) -> Callable[[Path], dict[str, float]]:
    return lambda folder: figures


def load() -> VideoPredictor:
    return VideoPredictor(device="cpu")


def test_auto_takes_what_was_measured_and_other_choices_do_not(
    identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(name: str = "auto") -> str:
        return open_engine(None, "cpu", PredictorOptions(), engine=name).name

    assert chosen() == "onnx"
    remember(identity, EAGER)
    assert chosen() == "eager"
    assert chosen("onnx") == "onnx"
    monkeypatch.setenv(SWITCH, "off")
    assert chosen() == "onnx"
    monkeypatch.setenv(SWITCH, "on")
    monkeypatch.setenv("OMP_NUM_THREADS", "97")  # another machine, as far as speed goes
    assert chosen() == "onnx"


def test_pytorch_must_be_clearly_faster(identity: str) -> None:
    remember(identity, {"onnx": 0.1, "eager": 0.095})
    assert remembered(identity) == "onnx"
    remember(identity, {"onnx": 0.1, "eager": 0.085})
    assert remembered(identity) == "eager"
    remember("another model", ONNX)
    assert remembered(identity) == "eager"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"KEY": 3}', b'{"KEY": {"onnx": 0.2}}',
     b'{"KEY": {"onnx": "a", "eager": -1}}'],
)  # fmt: skip
def test_a_damaged_memory_counts_as_none_and_is_written_again(
    content: bytes, identity: str
) -> None:
    remember(identity, EAGER)
    (key,) = json.loads(remembered_file().read_text())
    remembered_file().write_bytes(content.replace(b"KEY", key.encode()))
    assert remembered(identity) is None
    remember(identity, EAGER)
    assert remembered(identity) == "eager"


def test_only_long_work_is_worth_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert not pays([broken, EXAMPLE])  # five seconds
    monkeypatch.setattr(module, "PAYS", 9.0)
    assert not pays([EXAMPLE])
    assert pays([EXAMPLE, broken, EXAMPLE])


def test_engines_are_measured_once_and_the_faster_one_is_taken(
    identity: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "measured", lambda folder: pytest.fail("measured"))
    assert load_calibrated(None, load, [EXAMPLE]).engine.name == "onnx"  # too short
    monkeypatch.setattr(module, "PAYS", 1.0)
    monkeypatch.setenv(SWITCH, "off")
    assert load_calibrated(None, load, [EXAMPLE]).engine.name == "onnx"
    monkeypatch.setenv(SWITCH, "on")
    assert not remembered_file().exists()
    monkeypatch.setattr(module, "measured", told(EAGER))
    assert load_calibrated(None, load, [EXAMPLE]).engine.name == "eager"
    assert "200 ms a key frame with onnxruntime, 100 ms with PyTorch" in capsys.readouterr().out
    monkeypatch.setattr(module, "measured", lambda folder: pytest.fail("measured again"))
    assert load_calibrated(None, load, [EXAMPLE]).engine.name == "eager"
    assert remembered(identity) == "eager"


def test_what_cannot_be_measured_stays_with_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAYS", 1.0)
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with caplog.at_level("WARNING", "ecmvae"):
        assert load_calibrated(None, load, [EXAMPLE]).engine.name == "onnx"
    assert "PyTorch was not measured" in caplog.text
    assert not remembered_file().exists()
    monkeypatch.setattr(module, "measured", told(EAGER))
    remembered_file().parent.parent.mkdir(parents=True, exist_ok=True)
    remembered_file().parent.write_text("a file where the cache folder should be")
    with caplog.at_level("WARNING", "ecmvae"):
        load_calibrated(None, load, [EXAMPLE])
    assert "cannot be written" in caplog.text


def test_a_model_that_does_not_exist_is_said_as_always() -> None:
    with pytest.raises(UserError, match="no-such-model"):
        load_calibrated("no-such-model", lambda: VideoPredictor("no-such-model"), [EXAMPLE])


@pytest.mark.slow
def test_both_engines_are_really_measured() -> None:
    figures = measured(default_model())
    assert figures is not None
    assert figures.keys() == {"onnx", "eager"}
    assert all(1e-4 < each < 60 for each in figures.values())
