"""The doctor names what is there and what is missing."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import pytest

from ecmvae import doctor as module


def test_a_healthy_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.doctor() == 0
    text = capsys.readouterr().out
    assert version("av") in text
    assert "H.264, AAC, VP9, Opus" in text
    assert text.splitlines()[-1] == "all good"


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(package: str) -> str:
        if package in ("av", "gradio"):
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(module, "version", without)
    monkeypatch.setattr("ecmvae.data.video.missing_encoders", lambda: ["libx264"])
    assert module.doctor() == 1
    text = capsys.readouterr().out
    assert "pip install 'ecmvae[app]'" in text  # optional: said, but no problem
    assert [line for line in text.splitlines() if line.startswith("PROBLEM")] == [
        "PROBLEM: av is not installed (video needs it): pip install av",
        "PROBLEM: this build of PyAV lacks libx264: install the wheel from PyPI",
    ]


def test_without_anything_that_runs_a_model_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(*missing: str) -> Callable[[str], str]:
        def installed(package: str) -> str:
            if package in missing:
                raise PackageNotFoundError(package)
            return version(package)

        return installed

    monkeypatch.setattr(module, "version", without("torch", "torchvision", "torchaudio", "timm"))
    assert module.doctor() == 0  # onnxruntime predicts
    assert (
        "torch                   not installed: pip install 'ecmvae[torch]' for training"
        in capsys.readouterr().out
    )
    monkeypatch.setattr(module, "version", without("torch", "onnxruntime"))
    assert module.doctor() == 1
    assert (
        "PROBLEM: nothing runs a model here: pip install 'ecmvae[onnx]'" in capsys.readouterr().out
    )


def test_the_doctor_imports_no_pytorch() -> None:
    code = "import sys; from ecmvae.cli import main; main(['doctor']); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )
