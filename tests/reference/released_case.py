"""What the reference tests share: weights drawn by label, known answers, and a run without noise."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import reference_inputs
import torch

ANSWERS = Path(__file__).parent / "released"

measured: dict[str, tuple[float, str]] = {}
"""What was compared so far: its largest difference and the tolerance. tools/parity.py makes a table of it."""


def close(
    what: str,
    actual: torch.Tensor | float,
    expected: torch.Tensor | float,
    *,
    atol: float = 0,
    rtol: float = 0,
) -> None:
    """Assert that no entry differs by more than atol, or by more than the share rtol of its own size."""
    ours, theirs = (torch.as_tensor(each, dtype=torch.float64) for each in (actual, expected))
    assert ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
    gap = (ours - theirs).abs()
    if rtol:
        gap = gap / theirs.abs().clamp_min(1e-12)
    largest = gap.max().item()
    before = measured.get(what, (0.0, ""))[0]
    measured[what] = max(largest, before), f"{rtol:g} relative" if rtol else f"{atol:g}"
    if not largest <= (rtol or atol):
        pytest.fail(f"{what}: differs by {largest:.3g}, {measured[what][1]} is allowed")


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
    return {
        name: torch.from_numpy(np.asarray(reference_inputs.weight(name, shape)))
        for name, shape in shapes.items()
    }


@contextmanager
def without_noise() -> Iterator[None]:
    """Every sample is its distribution's mean."""
    randn = torch.randn
    torch.randn = lambda *args, **kwargs: torch.zeros_like(randn(*args, **kwargs))
    try:
        yield
    finally:
        torch.randn = randn
