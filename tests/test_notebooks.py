"""The notebook runs from top to bottom, and what it shows is true."""

import json
from importlib.resources import files
from pathlib import Path

import nbformat
import pytest

from tools.run_notebook import execute

PACKAGED = Path(str(files("ecmvae"))) / "weights"
NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "first_steps.ipynb"
MEASURE = """
import json
halves = lambda mask: [int(mask[:, :245].sum()), int(mask[:, 245:].sum())]  # the cow stands left, the sheep right
print(json.dumps({
    "shape": result.masks.shape,
    "halves": {name: [halves(heard.frame(k).mask) for k in (25, 75)] for name, heard in answers.items()},
    "heard": float(output.logits.sigmoid()[batch.masks.bool()].mean()),
    "silent": float(output.logits.sigmoid()[(batch.objects[:, :, None] > 0) & ~batch.masks.bool()].mean()),
}))
"""


@pytest.mark.timeout(900)  # seconds on a free core, minutes on a busy machine
@pytest.mark.skipif(not any(PACKAGED.glob("*/model.safetensors")), reason="no model is packaged")
def test_a_fresh_run() -> None:
    shorter = {'"epochs": 7,': '"epochs": 4,', '"check_val_every_n_epochs": 7,': '"check_val_every_n_epochs": 4,'}
    told = json.loads(execute(NOTEBOOK, extra=MEASURE, other_code=shorter).cells[-1].outputs[-1]["text"])
    assert told["shape"] == [100, 480, 480]
    recorded, swapped, muted = (told["halves"][name] for name in ("as recorded", "halves swapped", "muted"))
    for mooing, bleating in (recorded, swapped[::-1]):
        assert mooing[0] > 3 * bleating[0]  # the cow's mask comes and goes with its voice
        assert bleating[1] > 3 * mooing[1]  # and so does the sheep's
    assert muted == [[0, 0], [0, 0]]
    assert (
        told["heard"] > 1.5 * told["silent"]
    )  # after seconds of training: shapes that sound against shapes that do not


def test_the_kept_outputs_are_of_one_clean_run() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", [output.get("name")])}
    assert {"image/jpeg", "text/html"} <= kinds
    assert not kinds & {"stderr", None}
    assert NOTEBOOK.stat().st_size < 1_200_000


@pytest.mark.parametrize("link", ["example.mp4", "SOURCES.md"])
def test_what_it_needs_is_there(link: str) -> None:
    assert f"../assets/{link}" in NOTEBOOK.read_text(encoding="utf-8")
    assert (NOTEBOOK.parents[1] / "assets" / link).is_file()
