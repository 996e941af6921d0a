"""The notebooks run from top to bottom, and what they show is true."""

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


@pytest.mark.notebook
@pytest.mark.timeout(900)  # seconds on a free core, minutes on a busy machine
@pytest.mark.skipif(not any(PACKAGED.glob("*/model.safetensors")), reason="no model is packaged")
def test_a_fresh_run() -> None:
    shorter = {
        '"epochs": 7,': '"epochs": 4,',
        '"check_val_every_n_epochs": 7,': '"check_val_every_n_epochs": 4,',
    }
    told = json.loads(
        execute(NOTEBOOK, extra=MEASURE, other_code=shorter).cells[-1].outputs[-1]["text"]
    )
    assert told["shape"] == [100, 480, 480]
    recorded, swapped, muted = (
        told["halves"][name] for name in ("as recorded", "halves swapped", "muted")
    )
    for mooing, bleating in (recorded, swapped[::-1]):
        assert mooing[0] > 3 * bleating[0]  # the cow's mask comes and goes with its voice
        assert bleating[1] > 3 * mooing[1]  # and so does the sheep's
    assert muted == [[0, 0], [0, 0]]
    # after seconds of training: shapes that sound against shapes that do not
    assert told["heard"] > 1.5 * told["silent"]


LECTURES = {
    "000": "abs(p_example - 0.0054146) < 1e-7, picture_auroc > 0.8, fog_auroc > 0.9",
    "001": "abs(log_p - bound - gap) < 1e-9, found > 0.7, few > 0.5",
    "002": "right > 0.8, noise_auroc > 0.9, uniformity(codes).max() > uniformity(drawn).max()",
    "003": "abs(exact - sampled) < 0.1, path[0][1] < path[2][1] < path[5][1], small < large, longer < large",
    "004": "abs(pca_codes - [-0.63, -0.39, 0.09, 0.41, 0.53]).max() < 0.005, copying.nearer_share > 0.9",
}
"""Number of a lecture -> what must hold after its notebook has run."""


@pytest.mark.notebook
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", LECTURES)
def test_a_lecture_runs(number: str) -> None:
    extra = f"import json\nprint(json.dumps([bool(each) for each in ({LECTURES[number]},)]))"
    ran = execute(NOTEBOOK.parent / f"lecture_{number}.ipynb", extra=extra)
    assert all(json.loads(ran.cells[-1].outputs[-1]["text"]))
    pictures = [
        out
        for cell in ran.cells
        for out in cell.get("outputs", [])
        if "image/png" in out.get("data", {})
    ]
    assert len(pictures) >= 2


KEPT = {
    "first_steps": {"image/jpeg", "text/html"},
    **{f"lecture_{number}": {"image/png"} for number in LECTURES},
}


@pytest.mark.parametrize("name", KEPT)
def test_the_kept_outputs_are_of_one_clean_run(name: str) -> None:
    path = NOTEBOOK.with_stem(name)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {
        kind
        for cell in cells
        for output in cell.outputs
        for kind in output.get("data", [output.get("name")])
    }
    assert KEPT[name] <= kinds
    assert not kinds & {"stderr", None}
    assert path.stat().st_size < 1_200_000


@pytest.mark.parametrize("link", ["example.mp4", "SOURCES.md"])
def test_what_it_needs_is_there(link: str) -> None:
    assert f"../assets/{link}" in NOTEBOOK.read_text(encoding="utf-8")
    assert (NOTEBOOK.parents[1] / "assets" / link).is_file()
