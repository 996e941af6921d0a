"""Write docs/parity.md: what was compared with the released code's known answers, and by how much it differs.

The comparisons are the tests in tests/reference; this runs them and tabulates what they measured.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import pytest
import torch

from ecmvae.losses import released
from ecmvae.losses.latent import MutualInformationBound, orthogonality_loss
from ecmvae.losses.segmentation import audio_visual_matching_loss, structure_loss
from ecmvae.models.tpavi import unit_length
from ecmvae.vae.gaussian import DiagonalGaussian

ROOT = Path(__file__).parents[1]
TESTS = ("test_released_blocks.py", "test_released_model.py", "test_released_front_end.py")
RECOMPUTED = ("test_avsbench_tpavi.py", "test_released_backbones.py")

HEADER = """# Parity with the released code

Our modules, loaded with weights and inputs that are drawn from a seed by label (`tests/reference/reference_inputs.py`),
against what the released code computes for them on a CPU in float32 with all sampling noise set to zero
(`tests/reference/released/`). No trained weight is involved: this shows that the arithmetic is the same, not how well
it segments. Written by `python tools/parity.py`; the same comparisons are part of `make test`.

| What | Largest difference | Tolerance |
|---|---:|---:|
"""


JUDGED = """
## Against an independent re-computation

For these the released code has no output here. Weights under the released keys and in the released shapes, drawn
the same way, go through our model and through an independent judge: torchvision's Swin-B, and for the others plain
functions of the state dict (`tests/reference/plain_networks.py`).

| What | Largest difference | Tolerance |
|---|---:|---:|
"""


QUIRKS = """
## What the released formulas change

`loss.formulas: released` against `principled` (the default) on the same known inputs: 5 frames, 16 latent dimensions,
mask logits of standard deviation 2.

| Term | Quirk | Released | Principled |
|---|---|---:|---:|
"""


@torch.no_grad()
def quirks() -> list[tuple[str, str, float, float]]:
    """Term, quirk, and its value by the released and by the principled formula on the known inputs."""
    import reference_inputs

    torch.manual_seed(0)
    case = {name: torch.from_numpy(value) for name, value in reference_inputs.loss_inputs().items()}
    p, q = (DiagonalGaussian(case[f"mu_{side}"], case[f"logvar_{side}"]) for side in "pq")
    logits, masks, z1, z2 = case["logits_ms3"], case["mask_ms3"], case["z1"], case["z2"]
    maps, sound = (
        [case[f"v_map_{i}"] for i in range(4)],
        [unit_length(case["a_fea_0"][0].T, dim=1)] * 4,
    )
    small = DiagonalGaussian(p.mean, torch.full_like(p.logvar, -8.0))
    bound = MutualInformationBound(16)
    rows = [
        (
            "structure",
            "BCE weights cancel",
            released.structure_loss(logits, masks),
            structure_loss(logits, masks),
        ),
        ("kl_*", "exp(logvar) taken for the scale", released.kl(p, q), p.kl(q)),
        ("js_shared", "densities at different samples", released.js(p, q, 1000), p.js(q, 1000)),
        ("js_shared", "the same, of equal distributions", released.js(p, p, 1000), p.js(p, 1000)),
        (
            "js_shared",
            "the same, of equal ones with logvar -8",
            released.js(small, small, 1000),
            small.js(small, 1000),
        ),
        (
            "mutual_information",
            "no normaliser",
            released.mutual_information(bound, z1, z2),
            bound(z1, z2),
        ),
        (
            "orthogonality",
            "mean in place of the sum",
            released.orthogonality_loss(z1, z2),
            orthogonality_loss(z1, z2),
        ),
        (
            "audio-visual matching",
            "frames summed, logits pooled before the sigmoid",
            released.audio_visual_matching_loss(maps, sound, logits),
            audio_visual_matching_loss(maps, sound, logits),
        ),
    ]
    return [
        (term, quirk, theirs.mean().item(), ours.mean().item())
        for term, quirk, theirs, ours in rows
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the comparisons and write the table; 1 when one of them fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "parity.md", help="the table's file"
    )
    options = parser.parse_args(arguments)
    folder = ROOT / "tests" / "reference"
    tables: list[list[str]] = []
    for tests in (TESTS, RECOMPUTED):
        if pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                str(ROOT),
                *(str(folder / name) for name in tests),
            ]
        ):
            print("error: not at parity, nothing written", file=sys.stderr)
            return 1
        import released_case  # pytest put its folder on the path

        measured = released_case.measured.items()
        tables.append([f"| {what} | {gap:.1e} | {allowed} |" for what, (gap, allowed) in measured])
        released_case.measured.clear()
    rows, judged = tables
    versions = (
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    )
    effects = [
        f"| {term} | {quirk} | {theirs:.4g} | {ours:.4g} |"
        for term, quirk, theirs, ours in quirks()
    ]
    text = "\n".join(
        [
            HEADER.rstrip(),
            *rows,
            JUDGED.rstrip(),
            *judged,
            QUIRKS.rstrip(),
            *effects,
            "",
            f"Measured with {versions}.",
            "",
        ]
    )
    options.out.write_text(text, encoding="utf-8")
    print(f"wrote {options.out}: {len(rows) + len(judged)} rows")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
