"""A study goes on where it was stopped and hides no failure; a stand-in plays `ecmvae`, and once the real one."""

import fcntl
import json
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from ecmvae.cli import main as ecmvae
from ecmvae.study import runner

# Leaves what `ecmvae train` leaves. It fails, or waits for a signal, as a file beside the study says.
STAND_IN = """
import json, signal, sys, time
from pathlib import Path
from ecmvae.config import load_config
words = sys.argv[1:]
files = [b for a, b in zip(words, words[1:]) if a == "--config"]
if words[0] == "evaluate":
    print("ecmvae: error: no such data", file=sys.stderr)
    sys.exit(2)
if "--resume" in words:
    run = Path(words[words.index("--resume") + 1])
    config = load_config(run / "config.yaml")
else:
    config = load_config(files)
    run = Path(config.train.out) / f"{config.train.name}-001"
    run.mkdir(parents=True)
(run / "config.yaml").write_text(config.to_yaml())
with (run.parent.parent / "calls").open("a") as calls:
    calls.write(f"{run.name} {'resumed' if '--resume' in words else 'started'}\\n")
wish = run.parent.parent / f"{run.name}.wish"
if wish.exists() and wish.read_text() == "fail":
    print("ecmvae: failed: the loss is NaN", file=sys.stderr)
    sys.exit(1)
if wish.exists() and wish.read_text() == "wait":
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "last.ckpt").touch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    time.sleep(60)
(run / "best").mkdir(exist_ok=True)
(run / "best" / "config.yaml").write_text(config.to_yaml())
(run / "best" / "model.safetensors").write_bytes(run.name.encode())
score = 0.5 + config.train.seed / 10 - (0.2 if config.loss.kl == 0 else 0)
(run / "best" / "metadata.json").write_text(json.dumps({"val/miou": score}))
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study of one variant and two seeds, run by the stand-in."""
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN)
    monkeypatch.setattr(runner, "COMMAND", [sys.executable, str(stand_in)])
    small = ["--train.epochs", "1", "--data.length", "8", "--data.val_length", "4"]
    return [
        "--config",
        "debug",
        *small,
        "--seeds",
        "0,1",
        "--out",
        str(tmp_path / "study"),
        "ablations/no_kl",
    ]


def main(words: list[str]) -> int:
    before = signal.getsignal(signal.SIGTERM)
    try:
        return ecmvae(["study", "run", *words])
    finally:
        signal.signal(signal.SIGTERM, before)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def states(tmp_path: Path) -> dict[str, str]:
    return {
        run["folder"]: run["state"]
        for run in json.loads((tmp_path / "study" / "study.json").read_text())["runs"]
    }


def test_a_study_is_run_once_and_grows(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert calls(tmp_path) == [
        f"{name}-seed{seed}-001 started" for seed in (0, 1) for name in ("base", "no_kl")
    ]
    table = (tmp_path / "study" / "results.md").read_text()
    # base 0.5 and 0.6, no_kl 0.3 and 0.4: each 0.2 lower.
    assert "| base | 2 | 0.5500 ± 0.0707 |" in table
    assert "| loss.kl=0.0 | 2 | 0.3500 ± 0.0707 |" in table
    assert "| -0.2000 [-0.2000, -0.2000] | 2 |" in table
    assert table in capsys.readouterr().out
    assert (tmp_path / "study" / "results.png").stat().st_size > 0
    assert main([*words, "ablations/kl_warmup"]) == 0  # a further variant; what is there is kept
    assert calls(tmp_path)[4:] == ["kl_warmup-seed0-001 started", "kl_warmup-seed1-001 started"]


def test_a_run_is_what_the_variant_says(words: list[str], tmp_path: Path) -> None:
    """The stand-in resolves its files as `ecmvae train` does; the first one is the recipe that differs.md names."""
    assert main([*words, "model.latent.dim=8 loss.kl=1e-3"]) == 0
    from ecmvae.config import load_config

    (run,) = (tmp_path / "study").glob("model.latent.dim*seed1-001")
    config = load_config(run / "config.yaml")
    assert (config.model.latent.dim, config.loss.kl, config.train.seed, config.train.epochs) == (
        8,
        1e-3,
        1,
        1,
    )
    log = (tmp_path / "study" / f"{run.name.removesuffix('-001')}.log").read_text()
    assert log.startswith("$ ecmvae train --config debug --config ")


def test_a_failed_run_stays_in_sight_and_is_tried_again(words: list[str], tmp_path: Path) -> None:
    wish = tmp_path / "no_kl-seed0-001.wish"
    wish.write_text("fail")
    assert main(words) == 1
    assert states(tmp_path)["no_kl-seed0-001"] == "failed (exit 1): failed: the loss is NaN"
    assert states(tmp_path)["no_kl-seed1-001"] == "finished"  # the others went on
    table = (tmp_path / "study" / "results.md").read_text()
    assert "| loss.kl=0.0 | 1 |" in table
    assert "- no_kl-seed0-001 (seed 0): failed (exit 1): failed: the loss is NaN" in table
    wish.unlink()
    assert main(words) == 0
    assert calls(tmp_path)[4:] == ["no_kl-seed0-001 started"]


def test_missing_scores_do_not_train_again(words: list[str], tmp_path: Path) -> None:
    assert main([*words, "--task", "synthetic"]) == 2
    assert set(states(tmp_path).values()) == {
        "trained, but scoring failed (exit 2): error: no such data"
    }
    trained = calls(tmp_path)
    (tmp_path / "study" / "study.json").write_text(
        (tmp_path / "study" / "study.json")
        .read_text()
        .replace("trained, but scoring failed (exit 2): ", "")
    )
    assert len(trained) == 4


def test_sigterm_reaches_the_run_and_the_study_goes_on(words: list[str], tmp_path: Path) -> None:
    wish = tmp_path / "base-seed1-001.wish"
    wish.write_text("wait")
    # a copy of this process, which has imported everything already
    process = get_context("fork").Process(target=lambda: sys.exit(ecmvae(["study", "run", *words])))
    process.start()
    waiting = tmp_path / "study" / "base-seed1-001" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # until the stand-in minds signals
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    assert states(tmp_path)["base-seed1-001"].startswith("stopped")
    wish.unlink()
    assert main(words) == 0
    assert calls(tmp_path)[2:] == [
        "base-seed1-001 started",
        "base-seed1-001 resumed",
        "no_kl-seed1-001 started",
    ]


def test_other_settings_are_another_study(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert main([*words, "--train.batch_size", "4"]) == 2
    assert "was started with train.batch_size=8, not 4" in capsys.readouterr().err


def test_two_at_once_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study").mkdir()
    with (tmp_path / "study" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(words) == 2
    assert "is being run by another process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_study(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "COMMAND", [sys.executable, "-m", "ecmvae"])
    assert main([*words, "--train.device", "cpu", "--task", "synthetic"]) == 0
    for run, state in states(tmp_path).items():
        assert state == "finished"
        best = json.loads((tmp_path / "study" / run / "best" / "metadata.json").read_text())
        assert f"{best['val/miou']}" in (tmp_path / "study" / "results.csv").read_text()
        assert (tmp_path / "study" / run / "scores" / "synthetic_test" / "report.json").is_file()
    table = (tmp_path / "study" / "results.md").read_text()
    assert "Scored on synthetic test, 4 clips." in table
    assert "per_clip.miou" in table.splitlines()[0]
