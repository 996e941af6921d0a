"""A model without training on a data set of classes: from the table to scores that are known."""

import csv
import json
from pathlib import Path

import pytest
import torch
from tiny_foundation import NAMES

from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.evaluation.tasks import ClassTask
from ecmvae.foundation.audio.ast import AST
from ecmvae.foundation.classes import find_classes, read_classes
from ecmvae.foundation.names import read_table
from ecmvae.foundation.visual.clipseg import CLIPSeg
from ecmvae.models.checkpoint import load_model
from ecmvae.models.concept_classes import ConceptClasses
from ecmvae.types import AVClip

SIDE, FRAMES = 64, 2
CLASSES = ("background", "tank", "siren", "dog")


@pytest.fixture
def name(hub_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"concepts:ast={hub_folders['ast']}+clipseg={hub_folders['clipseg']}"


def test_the_packaged_table_says_what_audioset_says() -> None:
    """Every sound of it is a name, or a part of a name, of AudioSet."""
    names = [row.name for row in read_table()]
    table = read_classes()
    assert len(table) >= 70
    found = find_classes(("background", *table), names, table)  # refuses what is not
    assert found.heard_as["man"] == ("Male speech, man speaking", "Male singing")
    assert found.heard_as["emergency-car"][0] == "Emergency vehicle"
    assert {name for name, heard in found.heard_as.items() if not heard} == {
        "donkey", "elephant", "leopard", "missile-rocket", "sorna", "squirrel", "tank", "tractor", "utv",
    }  # fmt: skip


def test_classes_of_ones_own_have_the_nearest_name() -> None:
    found = find_classes(("background", "rain", "sirens", "xylophone"), NAMES, None)
    assert found.heard_as == {"rain": ("Rain",), "sirens": ("Siren",), "xylophone": ()}
    assert found.numbers == (1, 2)
    assert found.vocabulary.members == ((5,), (6,))
    assert find_classes(("background", "hair-dryer"), (), None).vocabulary.prompts == (
        "a hair dryer",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,prompt\n", "its first line must be class,prompt,sounds"),
        ("class,prompt,sounds\ndog,a dog,bark\ndog,a dog,bark\n", "names the class 'dog' twice"),
        (
            "class,prompt,sounds\ndog,a dog,barck\n",
            "no name for 'barck', a sound of the class 'dog': nearest are bark",
        ),
        ("class,prompt,sounds\ndog,,bark\n", "needed are a class, a prompt and sounds"),
    ],
)
def test_wrong_tables(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        find_classes(("background", "dog"), NAMES, read_classes(tmp_path / "mine.csv"))


def tone(level: float) -> torch.Tensor:
    return level * torch.sin(torch.arange(16_000 * FRAMES) * (2 * torch.pi * 440 / 16_000))


def clips() -> list[AVClip]:
    """A dog in the left half, in another clip a siren in the right half."""
    found = []
    for name, number, columns in (("one", 3, slice(0, 32)), ("two", 2, slice(32, 64))):
        labels = torch.zeros(FRAMES, SIDE, SIDE, dtype=torch.long)
        labels[:, :, columns] = number
        frames = torch.full((FRAMES, 3, SIDE, SIDE), 50 * number, dtype=torch.uint8)
        loud = tone(0.1 * number)
        found.append(
            AVClip(
                name=name,
                frames=frames,
                waveform=loud,
                masks=(labels > 0).float()[:, None],
                supervised=torch.ones(FRAMES, dtype=torch.bool),
                labels=labels,
            )
        )
    return found


def test_scores_that_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tagger hears a bark or a siren, the segmenter sees each in its half: right where it hears the right one."""
    heard: list[int] = []

    def listen(self: AST, rows: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(rows), len(NAMES))
        for row, sound in enumerate(rows):
            place = NAMES.index("Bark" if sound.max() > middle else "Siren")
            heard.append(place)
            scores[row, place] = 0.9
        return scores

    def outline(self: CLIPSeg, looked: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        maps = torch.full((len(prompts), SIDE, SIDE), -9.0)
        for place, prompt in enumerate(prompts):
            maps[place, :, slice(0, 32) if prompt == "a dog" else slice(32, 64)] = 9.0
        return maps

    monkeypatch.setattr(AST, "listen", listen)
    monkeypatch.setattr(CLIPSeg, "outline", outline)
    model = ConceptClasses(load_model(name), CLASSES)
    middle = sum(float(model.front_end(tone(level)[None]).max()) for level in (0.2, 0.3)) / 2
    assert model.heard_as == {"tank": (), "siren": ("Siren",), "dog": ("Bark", "Bow-wow")}
    settings = EvaluateSettings(progress=False, sounds=("real", "shuffled"))
    report = evaluate(model, clips(), settings, task=ClassTask(CLASSES))
    assert set(heard) == {NAMES.index("Bark"), NAMES.index("Siren")}
    real, shuffled = (report.scores[sound].frames for sound in ("real", "shuffled"))
    assert real.miou == pytest.approx(1.0)
    # the other one's half, with its name
    assert shuffled.miou_without_background == pytest.approx(0.0)


def test_the_command_on_avss(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ecmvae.data.miniature import write_miniature_avss

    root = write_miniature_avss(tmp_path / "data")
    (tmp_path / "mine.csv").write_text(
        "class,prompt,sounds\nring,a ring,siren\ncross,a cross,bark;bow-wow\n"
    )
    words = [
        "evaluate",
        "--checkpoint",
        name,
        "--data",
        str(root),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--classes", str(tmp_path / "mine.csv"), "--limit", "2"]) == 0, (
        capsys.readouterr().err
    )
    report = json.loads((tmp_path / "out" / "avss_test" / "report.json").read_text())
    assert report["about"]["heard_as"]["ring"] == ["Siren"]
    assert report["about"]["heard_as"]["cross"] == ["Bark", "Bow-wow"]
    with (tmp_path / "out" / "avss_test" / "classes.csv").open() as file:
        assert {"ring", "cross"} & {row["name"] for row in csv.DictReader(file)}
    assert (
        main([*words[:1], "--checkpoint", "collage-small", *words[3:], "--classes", "x.csv"]) == 2
    )
    assert "--classes goes with --checkpoint concepts" in capsys.readouterr().err
