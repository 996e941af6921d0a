"""`tools/fuzz.py`: sound inputs are parsed, damaged ones are parsed or refused, and a fault of a parser is seen."""

import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import fuzz
import pytest
from campaigns.containers import MUTATIONS

from ecmvae import foreign_text
from ecmvae.data import layout
from ecmvae.data.collage import containers

FUZZ = Path(fuzz.__file__)


@pytest.fixture(autouse=True)
def _readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harnesses replace these; afterwards they are as before."""
    monkeypatch.setattr(containers, "_read", containers._read)
    monkeypatch.setattr(layout, "read_text", layout.read_text)


@pytest.mark.parametrize("parser", fuzz.PARSERS)
def test_sound_inputs_are_parsed_and_damaged_ones_do_no_harm(parser: str) -> None:
    _, inputs = fuzz.PARSERS[parser]
    assert fuzz.refused_or_parsed(parser, inputs[0])
    rng = random.Random(parser)
    for _ in range(200):
        data = rng.choice(inputs)
        for _ in range(rng.randrange(3)):
            data = rng.choice(list(MUTATIONS.values()))(data or b"x", rng)
        fuzz.refused_or_parsed(parser, data)


def test_a_fault_of_a_parser_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_text, "_check_depth", lambda depth: None)
    with pytest.raises(AssertionError):
        fuzz.refused_or_parsed("json", b"[" * 80 + b"]" * 80)


@pytest.mark.skipif(find_spec("atheris") is None, reason="needs atheris")
def test_atheris_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), "rle", "--runs", "300", "--keep", f"{tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FUZZ.parents[1])
    assert done.returncode == 0, done.stderr
    assert "Done 300 runs" in done.stderr
    assert not list(tmp_path.iterdir())
