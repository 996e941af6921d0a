"""docs/vae-models.md: every model has a row, every file that it names exists, its examples print what they say."""

import re
from pathlib import Path
from typing import get_args

import pytest

from ecmvae.vae.zoo import ModelName

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vae-models.md").read_text()
MULTIMODAL = ("jmvae", "mvae", "mmvae", "mopoe", "mmjsd", "dmvae", "mmvae_plus")


@pytest.mark.parametrize("name", [name for name in get_args(ModelName) if name not in MULTIMODAL])
def test_every_model_is_named(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:py|yaml))`", PAGE))))
def test_every_named_file_exists(name):
    assert any(
        (place / name).is_file()
        for place in (ROOT, ROOT / "ecmvae" / "vae", ROOT / "configs" / "vae")
    )


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE, re.S))
def test_every_example_prints_what_it_says(example, capsys):
    exec(compile(example, "docs/vae-models.md", "exec"), {})
    last = example.strip().splitlines()[-1]
    assert capsys.readouterr().out.strip() == last.rpartition("  # ")[2]
