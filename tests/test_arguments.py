"""Options out of their ranges, as typed: one line and exit code 2, before torch is imported where it is not needed."""

import sys
from pathlib import Path

import pytest

from ecmvae.cli import main
from ecmvae.prediction.options import PredictorOptions


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "predict VIDEO --smoothing 1e308",
            "smoothing, in seconds, must be from 0 to 60, got 1e+308",
        ),
        ("predict VIDEO --samples 100000000", "samples must be from 1 to 10000, got 100000000"),
        ("predict VIDEO --batch 0", "batch must be from 1 to 10000, got 0"),
        ("app --port 99999", "port must be from 1 to 65535, got 99999"),
        ("app --port -1", "port must be from 1 to 65535, got -1"),
        ("train-audio --steps -1", "steps must be from 1 to 100000000, got -1"),
        ("train-audio --seed 1208925819614629174706176", "seed must be from 0 to 4294967295"),
        ("vae train --latent_dim -3 --out NEW", "model.latent_dim must be from 1 to 65536, got -3"),
        (
            "vae train --latent_dim 10000000000 --out NEW",
            "model.latent_dim must be from 1 to 65536, got 10000000000",
        ),
        ("vae train --seed 1180591620717411303424 --out NEW", "seed must be from 0 to 4294967295"),
        ("vae train --device tpu --out NEW", "device is one of auto, cpu, cuda and mps, got tpu"),
        ("train-audio --folds 5 --fold 5", "fold=5 must be from 0 to 4: there are 5 folds"),
        ("train-audio --folds 5 --data synthetic", "folds=5 has no effect on data=synthetic"),
        (
            "train --data.folds 1",
            "data.folds=1 leaves nothing to train on: choose at least 2 folds, or 0",
        ),
        ("train --data.workers 100000", "data.workers must be from 0 to 256, got 100000"),
        ("train --train.seed -5", "train.seed must be from 0 to 4294967295, got -5"),
    ],
)
def test_an_option_out_of_its_range(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").touch()
    places = {"VIDEO": str(tmp_path / "a.mp4"), "NEW": str(tmp_path / "new")}
    assert main([places.get(word, word) for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_page_is_not_imported_for_a_wrong_port() -> None:
    loaded = set(sys.modules)
    assert main(["app", "--port", "70000"]) == 2
    assert "gradio" not in set(sys.modules) - loaded


def test_the_ends_of_a_range_are_in_it() -> None:
    PredictorOptions(samples=10_000, batch=1, smoothing=60.0)
    PredictorOptions(samples=1, smoothing=0.0)
