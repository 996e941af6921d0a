"""`tools/stress.py`: its report counts what was lost, and short versions of the campaigns lose nothing."""

import json
from pathlib import Path

import pytest
import stress
from campaigns.base import Campaign, Trial, ecmvae
from campaigns.cli import CommandLines, Option, options, values
from campaigns.files import Files
from campaigns.leak import Leak
from campaigns.media import Media
from campaigns.worker import Worker

from ecmvae.cli import COMMANDS


class Fragile(Campaign):
    """Every third attack is lost; the fourth breaks the campaign itself."""

    def trial(self, index: int) -> Trial:
        if index == 4:
            raise KeyError("no such attack")
        return Trial(
            "odd" if index % 2 else "even",
            lost="" if index % 3 else "it broke",
            megabytes=10.0 * index,
        )


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "campaign_named", lambda name: Fragile)


def test_the_report_counts_by_kind_and_says_how_to_repeat_a_loss(
    fragile: None, tmp_path: Path
) -> None:
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


def test_a_loss_is_exit_code_1(
    fragile: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stress.main(["media", "--only", "1", "--json", str(tmp_path / "a.json")]) == 0
    assert stress.main(["media", "--only", "3"]) == 1
    assert json.loads((tmp_path / "a.json").read_text())["survived"] == 1


def test_losses_that_survive_now_are_mended(
    fragile: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a.json"
    assert stress.main(["media", "--runs", "8", "--json", str(path)]) == 1
    before = json.loads(path.read_text())
    assert [loss["repeat"][-1] for loss in before["losses"]] == list("0346")

    class Mended(Fragile):
        """The first attack is survived now."""

        def trial(self, index: int) -> Trial:
            return super().trial(1 if index == 0 else index)

    monkeypatch.setattr(stress, "campaign_named", lambda name: Mended)
    assert stress.main(["media", "--again", str(path)]) == 1
    after = json.loads(path.read_text())
    assert (after["tried"], after["survived"], after["lost"]) == (8, 5, 3)
    assert [(loss["repeat"][-1], loss["why"]) for loss in after["mended"]] == [("0", "it broke")]
    assert [loss["repeat"][-1] for loss in after["losses"]] == list("346")
    assert after["kinds"]["even"] == {"tried": 3, "lost": before["kinds"]["even"]["lost"] - 1}
    assert "Lost in this run, survives as of" in stress.page([{**after, "campaign": "media"}])


def test_choices_depend_on_the_seed_and_the_number_only(tmp_path: Path) -> None:
    first, again, other = Fragile(tmp_path, 0), Fragile(tmp_path, 0), Fragile(tmp_path, 1)
    first.rng(1).random()
    assert first.rng(2).random() == again.rng(2).random() != other.rng(2).random()


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [(["--version"], 0, ""), (["nonsense"], 2, ""), (["nonsense"], 2, "exit code 2")],
)
def test_a_command_is_measured(words: list[str], code: int, fault: str) -> None:
    # of this process; the command's own memory is what counts
    ballast = bytearray(b"x" * 500_000_000)
    ended = ecmvae(words)
    assert len(ballast) == 500_000_000
    assert ended.code == code
    assert 5 < ended.megabytes < 400
    assert 0 < ended.cpu_seconds < 20
    assert ended.fault((0,) if fault else (0, 2)).startswith(fault)


def survivors(campaign: Campaign, runs: int) -> list[str]:
    """Make so many attacks; returns what was lost."""
    with campaign:
        trials = [campaign.trial(index) for index in range(runs)]
    return [
        f"{number}: {trial.kind}: {trial.lost} ({trial.detail})"
        for number, trial in enumerate(trials)
        if trial.lost
    ]


def test_media(tmp_path: Path) -> None:
    campaign = Media(tmp_path, seed=3)
    assert survivors(campaign, 8) == []
    assert campaign.figures() == {"deaths": 0}


def test_files(tmp_path: Path) -> None:
    campaign = Files(tmp_path, seed=3, light=True)
    assert survivors(campaign, 10) == []
    assert campaign.figures() == {"executed": 0, "tracebacks": 0}


def test_command_lines(tmp_path: Path) -> None:
    campaign = CommandLines(tmp_path, seed=3, light=True)
    assert survivors(campaign, 10) == []


def test_every_option_of_every_command_is_attacked() -> None:
    found = options()
    assert {option.command.split()[0] for option in found} == set(COMMANDS)
    assert Option("predict", "--smoothing", "number") in found
    assert Option("train", "--model.latent.dim", "number") in found
    assert all(values(option) for option in found)


def test_no_leak(tmp_path: Path) -> None:
    assert survivors(Leak(tmp_path, seed=3), 12) == []


def test_a_leak_of_open_files_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    lost = survivors(Leak(tmp_path, seed=3, function="leaky_function:leaky"), 12)
    assert [each.partition(": ")[0] for each in lost] == ["10", "11"]
    assert all("files, " in each for each in lost)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("1 / 0", "traceback: ZeroDivisionError"),
        ("while True: pass", "no end"),
    ],
)
def test_a_worker_tells_how_a_job_ended(tmp_path: Path, code: str, fault: str) -> None:
    with Worker(
        "job_by_text:run", tmp_path, cpu_limit=0.3, env={"PYTHONPATH": str(tmp_path)}, forks=True
    ) as worker:
        (tmp_path / "job_by_text.py").write_text(
            "import sys\ndef run(words):\n    exec(words[0])\n    return 0\n"
        )
        assert worker(["pass"]).fault((0,)) == ""
        assert worker([code]).fault((0,)).startswith(fault)
        assert worker(["pass"]).code == 0
        assert worker.started == 1
