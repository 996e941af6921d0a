"""Outputs are pytrees: models that return them can be exported and compiled, and outputs moved part by part."""

import subprocess
import sys

import torch
from torch.utils._pytree import tree_flatten, tree_map

from ecmvae.models.output import BranchOutput, SegmentationOutput
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latents import LatentSet

TRACE = """
import torch
from ecmvae.config import config_from_dict
from ecmvae.models import ECMVAEOutput, build_model

paper = {"latent": {"dim": 4}, "fusion": {"kind": "tpavi"}}
for form in (paper, {"latent": {"kind": "none"}, "fusion": {"kind": "gate"}}):
    torch.manual_seed(0)
    parts = {"visual": {"name": "test_efficientnet"}, "audio": {"name": "vggish_small"}, "channels": 16, **form}
    model = build_model(config_from_dict({"model": parts}).model, image_size=64).eval()
    clip = torch.rand(1, 2, 3, 64, 64), torch.rand(1, 2, 128)
    expected = model(*clip, latents="mean")
    exported = torch.export.export(model, clip, {"latents": "mean"}).module()
    gate = form["fusion"]["kind"] == "gate"
    for each in (exported, *([torch.compile(model, backend="aot_eager")] if gate else [])):
        found = each(*clip, latents="mean")
        assert isinstance(found, ECMVAEOutput)
        assert torch.allclose(found.logits, expected.logits, atol=1e-5)
        assert (found.prior is None) == (expected.prior is None)
    print("equal")
"""


def test_export_and_compile() -> None:
    """In a process of its own: torch cannot trace through the checks of shapes that tests run under."""
    done = subprocess.run(
        [sys.executable, "-c", TRACE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal", "equal"]


def test_an_output_part_by_part() -> None:
    latents = LatentSet({"c": DiagonalGaussian(torch.zeros(2, 3), torch.ones(2, 3))})
    logits = torch.zeros(1, 2, 1, 4, 4)
    branch = BranchOutput(
        logits=logits, samples=None, fused=(logits[0],), audio=(), latents=latents
    )
    output = SegmentationOutput(logits=logits, prior=latents, prior_branch=branch)
    doubled = tree_map(torch.Tensor.double, output)
    assert {leaf.dtype for leaf in tree_flatten(doubled)[0]} == {torch.float64}
    assert list(doubled.prior) == ["c"]
    assert torch.equal(doubled.prior["c"].logvar, torch.ones(2, 3).double())
    shapes = tree_map(lambda tensor: tuple(tensor.shape), latents)  # leaves need not be tensors
    assert shapes["c"].mean == (2, 3)
