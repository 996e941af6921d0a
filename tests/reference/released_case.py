"""What the reference tests share: weights drawn by label, known answers, and a run without noise."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import reference_inputs
import torch

ANSWERS = Path(__file__).parent / "released"


def arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(ANSWERS / f"{name}.npz") as loaded:
        return {key: torch.from_numpy(loaded[key]) for key in loaded.files}


def numbers(name: str) -> dict:
    return json.loads((ANSWERS / f"{name}.json").read_text())


def released_shapes(name: str) -> dict[str, list[int]]:
    """Keys and shapes of a released file: resnet, pvt, resnet_aspp, swin_encoder_only, vggish."""
    return json.loads(gzip.decompress((ANSWERS / "keys.json.gz").read_bytes()))[name]


def drawn(shapes: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
    """The known weights under their released names."""
    return {name: torch.from_numpy(np.asarray(reference_inputs.weight(name, shape))) for name, shape in shapes.items()}


@contextmanager
def without_noise() -> Iterator[None]:
    """Every sample is its distribution's mean."""
    randn = torch.randn
    torch.randn = lambda *args, **kwargs: torch.zeros_like(randn(*args, **kwargs))
    try:
        yield
    finally:
        torch.randn = randn
