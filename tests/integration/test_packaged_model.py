"""The model that comes with the wheel: complete, as registered and the default; tests/test_public.py uses it."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from ecmvae.hub.find import default_model, weights_sha256
from ecmvae.hub.named_models import (
    CONFIG_FILE,
    GRAPH_FILE,
    MODEL_FILES,
    PACKAGED,
    named_models,
)
from ecmvae.models.checkpoint import load_model

PRESENT = [model for model in named_models().values() if model.packaged]


def test_the_list_and_the_folders_agree() -> None:
    assert PRESENT
    assert sorted(model.name for model in PRESENT) == sorted(
        path.name for path in PACKAGED.iterdir() if (path / CONFIG_FILE).is_file()
    )


@pytest.mark.parametrize("model", PRESENT, ids=lambda model: model.name)
def test_it_is_what_the_list_says(model) -> None:
    folder = model.folder()
    assert sorted(path.name for path in folder.iterdir()) == sorted([*MODEL_FILES, GRAPH_FILE])
    assert weights_sha256(folder) == model.sha256
    assert (folder / "model.safetensors").stat().st_size == model.size <= 20_000_000
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == model.licence
    assert card.data.model_name == model.name
    assert all(
        word in card.text for word in ("GPL-2", "CC-BY-SA", "## Limits", "No AVSBench score")
    )
    metadata = json.loads((folder / "metadata.json").read_text())
    assert f"`{metadata['command']}`, commit {metadata['commit']}" in card.text


def test_the_first_is_the_default_of_predict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_model() == PACKAGED / PRESENT[0].name


def test_its_numbers_are_32_bits_in_memory() -> None:
    model = load_model(PRESENT[0].name)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
