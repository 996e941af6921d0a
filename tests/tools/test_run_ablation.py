"""A study goes on where it was stopped and hides no failure; a stand-in plays `ecmvae`, and once the real one."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_ablation
from run_ablation import main

ROOT = Path(__file__).parents[2]
ABLATIONS = ROOT / "configs" / "ablations"

# Leaves what `ecmvae train` leaves. It fails, or waits for a signal, as a file beside the study says.
STAND_IN = """
import json, signal, sys, time
from pathlib import Path
from ecmvae.config import load_config
words = sys.argv[1:]
files = [b for a, b in zip(words, words[1:]) if a == "--config"]
settings = {a[2:]: b for a, b in zip(words, words[1:]) if a.startswith("--") and "." in a}
if words[0] == "evaluate":
    sys.exit("ecmvae: error: no such data") if "none" in words else None
    sys.exit(0)
if "--resume" in words:
    run = Path(words[words.index("--resume") + 1])
    config = load_config(run / "config.yaml")
else:
    config = load_config(files, settings)
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
    """A study of one switch and two seeds, run by the stand-in."""
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN)
    monkeypatch.setattr(run_ablation, "COMMAND", [sys.executable, str(stand_in)])
    switches = ["--switches", str(ABLATIONS / "no_kl.yaml")]
    base = ["--config", str(ROOT / "configs" / "debug.yaml"), "--train.epochs", "1"]
    return [*base, "--seeds", "0", "1", "--out", str(tmp_path / "study"), *switches]


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def states(tmp_path: Path) -> dict[str, str]:
    return {run["folder"]: run["state"] for run in json.loads((tmp_path / "study" / "study.json").read_text())["runs"]}


def test_a_study_is_run_once_and_grows(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert calls(tmp_path) == [f"{name}-seed{seed}-001 started" for seed in (0, 1) for name in ("base", "no_kl")]
    table = (tmp_path / "study" / "results.md").read_text()
    # base 0.5 and 0.6, no_kl 0.3 and 0.4: each 0.2 lower.
    assert "| base | 2 | 0.5500 ± 0.0707 |  |" in table
    assert "| loss.kl=0.0 | 2 | 0.3500 ± 0.0707 | -0.2000 ± 0.0000, 2 |" in table
    assert table in capsys.readouterr().out
    assert main([*words, str(ABLATIONS / "kl_warmup.yaml")]) == 0  # a further switch; what is there is kept
    assert calls(tmp_path)[4:] == ["kl_warmup-seed0-001 started", "kl_warmup-seed1-001 started"]


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
    assert main([*words, "--data", "none"]) == 1
    assert set(states(tmp_path).values()) == {"trained, but scoring failed (exit 1): error: no such data"}


def test_sigterm_reaches_the_run_and_the_study_goes_on(words: list[str], tmp_path: Path) -> None:
    wish = tmp_path / "base-seed1-001.wish"
    wish.write_text("wait")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import run_ablation as r; "
        f"r.COMMAND = {run_ablation.COMMAND!r}; sys.exit(r.main({words!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    waiting = tmp_path / "study" / "base-seed1-001" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # until the stand-in minds signals
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert states(tmp_path)["base-seed1-001"].startswith("stopped")
    wish.unlink()
    assert main(words) == 0
    assert calls(tmp_path)[2:] == ["base-seed1-001 started", "base-seed1-001 resumed", "no_kl-seed1-001 started"]


def test_mistakes_are_told_before_anything_is_run(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = tmp_path / "same.yaml"
    same.write_text("loss: {kl: 0.01}")
    for wrong, message in (
        (["--train.epoch", "3"], "did you mean 'train.epochs'?"),
        (["--epochs", "3"], "--epochs: neither an option nor a setting"),
        (["--switches", str(same)], "switch same changes nothing"),
        (["--model.name", "tpavi"], "switch no_kl changes nothing in this configuration (loss.kl has no effect with"),
        (["--switches", str(ABLATIONS / "no_kl.yaml"), str(ABLATIONS / "no_kl.yaml")], "two switches have one name"),
        (["--seeds", "1", "1"], "a seed is named twice"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_other_settings_are_another_study(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert main([*words, "--train.epochs", "2"]) == 2
    assert "was started with train.epochs=1, not 2" in capsys.readouterr().err


def test_two_at_once_are_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study").mkdir()
    with (tmp_path / "study" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(words) == 2
    assert "is being run by another process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_study(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_ablation, "COMMAND", [sys.executable, "-m", "ecmvae"])
    small = ["--data.length", "8", "--data.val_length", "4", "--train.device", "cpu"]
    assert main([*words, *small]) == 0
    for run, state in states(tmp_path).items():
        assert state == "finished"
        best = json.loads((tmp_path / "study" / run / "best" / "metadata.json").read_text())
        assert f"{best['val/miou']}" in (tmp_path / "study" / "results.csv").read_text()
