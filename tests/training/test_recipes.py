"""Every recipe for AVSBench trains one step and one validation on a miniature in the released layout.

PVTv2-b5 is replaced by its smallest relative and VGGish by the small encoder, both with random weights: what is under
test is that recipe, files, loss and model fit together.
"""

from pathlib import Path

import pytest

from ecmvae.config import Config, load_config
from ecmvae.data.miniature import ShapeScenes, write_miniature, write_miniature_avss
from ecmvae.models.checkpoint import load_model
from ecmvae.training.monitor import read_history
from ecmvae.training.run import train

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = [
    path
    for path in sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("reproduce/*.yaml")])
    if path.stem.startswith(("s4_", "ms3_", "avss_"))
]
FAST = (
    "reproduce/s4_pvt",
    "reproduce/ms3_resnet50",
    "reproduce/ms3_tpavi",
    "reproduce/s4_tpavi_resnet50",
    "avss_tpavi",
)
SIDE = 32
SMALL = {
    "model.visual.weights": None,
    "model.audio.name": "vggish_small",
    "model.audio.weights": None,
    "model.audio.frozen": False,
    "data.image_size": SIDE,
    "data.workers": 0,
    "train.epochs": 1,
    "train.batch_size": 2,
    "train.log_images": 0,
    "train.device": "cpu",
}


@pytest.fixture(scope="module")
def avsbench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """S4, MS3 and AVSS with two training clips and one to validate with (in each subset of AVSS), 32 pixels."""
    root, counts = tmp_path_factory.mktemp("avsbench"), {"train": 2, "val": 1}
    found = {
        task: write_miniature(root, task, counts, source=ShapeScenes(task, SIDE))
        for task in ("s4", "ms3")
    }
    avss = write_miniature_avss(
        root / "AVSS",
        {"train": 1, "val": 1},
        single=ShapeScenes("s4", SIDE),
        several=ShapeScenes("ms3", SIDE),
    )
    return found | {"avss": avss}


def name_of(path: Path) -> str:
    return str(path.relative_to(CONFIGS).with_suffix(""))


def small(path: Path, root: Path, out: Path) -> Config:
    """The recipe at a size that a test can take."""
    config = load_config(path)
    assert config.model.visual.weights is not None
    name = config.model.visual.name.replace("pvt_v2_b5", "pvt_v2_b0")
    # The matching term compares the maps with the sound, whose width is 128; the baseline projects the sound itself.
    width = (
        {"model.channels": 16}
        if config.model.name == "tpavi" or config.loss.audio_visual_matching == 0
        else {}
    )
    where = {"data.root": str(root), "train.out": str(out), "model.visual.name": name}
    return load_config(path, SMALL | width | where)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if name_of(path) in FAST else pytest.mark.slow)
        for path in RECIPES
    ],
    ids=name_of,
)
def test_a_recipe_trains_on_avsbench(
    path: Path, avsbench: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecmvae.training.run.draw_curves", lambda history, picture: None)
    config = small(path, avsbench[load_config(path).data.name], tmp_path)
    run = train(config, files=[path])
    rows = read_history(run / "history.jsonl")
    losses = next(row for row in rows if "train/total" in row)
    assert ("train/audio_visual_matching" in losses) == (config.data.name != "s4")
    assert ("train/kl_visual" in losses) == (config.model.name == "ecmvae")
    assert any("val/miou" in row for row in rows)
    assert f"`{path}`" in (run / "differs.md").read_text(encoding="utf-8")
    assert load_model(run).config == config


def test_the_fast_ones_are_there() -> None:
    assert len(RECIPES) == 8 + 8 + 3
    assert set(FAST) <= set(map(name_of, RECIPES))
