"""`tools/stress.py`: its report counts what was lost, and short versions of the campaigns lose nothing."""

import json
from pathlib import Path

import pytest
import stress
from campaigns.base import Campaign, Trial, ecmvae


class Fragile(Campaign):
    """Every third attack is lost; the fourth breaks the campaign itself."""

    def trial(self, index: int) -> Trial:
        if index == 4:
            raise KeyError("no such attack")
        return Trial("odd" if index % 2 else "even", lost="" if index % 3 else "it broke", megabytes=10.0 * index)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "campaign_named", lambda name: Fragile)


def test_the_report_counts_by_kind_and_says_how_to_repeat_a_loss(fragile: None, tmp_path: Path) -> None:
    report = stress.attack("media", 7, range(6), tmp_path, progress=False)
    assert (report["tried"], report["survived"], report["lost"]) == (6, 3, 3)
    assert report["kinds"] == {
        "campaign": {"tried": 1, "lost": 1},
        "even": {"tried": 2, "lost": 1},
        "odd": {"tried": 3, "lost": 1},
    }
    assert [loss["repeat"] for loss in report["losses"]] == [
        f"python tools/stress.py media --seed 7 --only {index}" for index in (0, 3, 4)
    ]
    assert report["figures"] == {"peak_megabytes": 50.0}


def test_a_loss_is_exit_code_1(fragile: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stress.main(["media", "--only", "1", "--json", str(tmp_path / "a.json")]) == 0
    assert stress.main(["media", "--only", "3"]) == 1
    assert json.loads((tmp_path / "a.json").read_text())["survived"] == 1


def test_choices_depend_on_the_seed_and_the_number_only(tmp_path: Path) -> None:
    first, again, other = Fragile(tmp_path, 0), Fragile(tmp_path, 0), Fragile(tmp_path, 1)
    first.rng(1).random()
    assert first.rng(2).random() == again.rng(2).random() != other.rng(2).random()


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [(["--version"], 0, ""), (["nonsense"], 2, ""), (["nonsense"], 2, "exit code 2")],
)
def test_a_command_is_measured(words: list[str], code: int, fault: str) -> None:
    ended = ecmvae(words)
    assert ended.code == code
    assert 5 < ended.megabytes < 500
    assert 0 < ended.cpu_seconds < 20
    assert ended.fault((0,) if fault else (0, 2)).startswith(fault)
