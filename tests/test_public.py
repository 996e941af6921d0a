import subprocess
import sys

import pytest

import ecmvae


def test_every_public_name_can_be_had() -> None:
    assert sorted(ecmvae._HOME_OF) == sorted(ecmvae.__all__)
    for name in ecmvae.__all__:
        assert getattr(ecmvae, name).__name__ == name
    assert set(ecmvae.__all__) <= set(dir(ecmvae))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'VideoPredicter'"):
        _ = ecmvae.VideoPredicter


@pytest.mark.parametrize("name", ["", "ECMVAE", "VideoPredictor", "load_model"])
def test_optional_packages_are_not_needed(name: str) -> None:
    """What a GPU image usually lacks may be missing until it is really used."""
    blocked = ("av", "jsonargparse", "gradio", "onnx", "onnxruntime", "ray", "lightning", "matplotlib", "sklearn")
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        f"import ecmvae\nprint(getattr(ecmvae, {name!r}) if {name!r} else 'imported')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_needs_neither_av_nor_jsonargparse() -> None:
    blocked = ("av", "jsonargparse", "gradio", "onnx", "ray")
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import ecmvae.training.run, ecmvae.data.avsbench, ecmvae.data.synthetic"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
