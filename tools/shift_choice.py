"""Make a model with regions mark more, or less: shift_choice.py RUN OUT --by 1.5.

The probability that a region sounds has a learned scale and bias (`ecmvae.models.regions`). The bias was learned on
pictures and recordings that are known by heart; names and sounds of new ones are less sure, so that a model which is
right about the known ones is too silent about these. OUT is a run folder with the changed model as best/: score it as
any run, then package it.

    python tools/shift_choice.py runs/small-yamnet-001 runs/small-shifted --by 1.5
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from ecmvae.errors import UserError
from ecmvae.hub.find import find_model_folder
from ecmvae.hub.named_models import METADATA_FILE
from ecmvae.models import ECMVAE
from ecmvae.models.checkpoint import load_model, save_model
from ecmvae.models.regions import RegionAnswer

_NOTE = "choice_shifted_by"


def shift(run: Path, out: Path, by: float) -> Path:
    """Write the changed model to OUT/best, noting the change in its metadata.

    Args:
        run: A run, or a model folder.
        out: Folder to make.
        by: What is added to the bias, a logit: above 0 more is marked.

    Returns:
        OUT/best.

    Raises:
        UserError: If the model has no regions, or OUT exists.
    """
    folder = find_model_folder(run)
    model = load_model(folder)
    answer = model.agreement.answer if isinstance(model, ECMVAE) and model.agreement else None
    if not isinstance(answer, RegionAnswer):
        raise UserError(f"{run} has no regions, and so no bias of their choice")
    if out.exists():
        raise UserError(f"{out} exists already: choose another folder")
    with torch.no_grad():
        answer.bias += by
    noted = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    noted = {name: value for name, value in noted.items() if name not in model.metadata()}
    total = round(by + noted.get(_NOTE, 0.0), 6)
    assert model.config is not None  # it was read with the weights
    return save_model(model, out / "best", model.config, {**noted, _NOTE: total})


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 means a mistake that the user can correct."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the trained run")
    parser.add_argument("out", type=Path, help="the run to make")
    parser.add_argument("--by", type=float, required=True, help="added to the bias, a logit")
    given = parser.parse_args(arguments)
    try:
        print(f"wrote {shift(given.run, given.out, given.by)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
