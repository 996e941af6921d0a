"""Names: listed, found, checked, and suggested where they are nearly right."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from fake_hub import FakeHub, serving

from ecmvae.errors import UserError
from ecmvae.hub import named_models as registry
from ecmvae.hub.named_models import NamedModel, did_you_mean, named_models

WEIGHTS = bytes(range(256)) * 100
ENTRY = {
    "summary": "two words",
    "sha256": sha256(WEIGHTS).hexdigest(),
    "size": len(WEIGHTS),
    "licence": "MIT",
}


def _fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of two models in place of ours: one packaged, one on the hub."""
    home = tmp_path / "weights"
    home.mkdir()
    entries = {
        "near-small": {**ENTRY, "source": "package"},
        "far-large": {**ENTRY, "source": "hf://someone/far"},
    }
    (home / "models.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    monkeypatch.setattr(registry, "PACKAGED", home)
    return home


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(monkeypatch, tmp_path / "cache") as hub:
        hub.add("someone/far", _fill(tmp_path / "original"))
        yield hub


def test_the_list_is_read_in_its_order(listed: Path) -> None:
    models = named_models()
    assert list(models) == ["near-small", "far-large"]
    assert models["near-small"] == NamedModel(
        name="near-small", home=listed, source="package", **ENTRY
    )


def test_a_packaged_model(listed: Path) -> None:
    model = named_models()["near-small"]
    with pytest.raises(
        UserError, match=r"near-small should come with ecmvae and is missing.*reinstall"
    ):
        model.folder()
    assert model.state()[0] == "damaged"
    folder = _fill(listed / "near-small")
    assert model.folder() == folder
    assert model.state() == ("packaged", "")
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"x")
    with pytest.raises(
        UserError, match=r"model.safetensors is damaged: its SHA-256.*reinstall ecmvae"
    ):
        model.folder()
    assert model.state()[0] == "damaged"


def test_a_model_of_the_hub_is_fetched_when_asked_for(listed: Path, hub: FakeHub) -> None:
    model = named_models()["far-large"]
    where, reason = model.state()
    assert (where, hub.requests) == ("not fetched", [])
    assert "offline" in reason
    assert (model.folder() / "model.safetensors").read_bytes() == WEIGHTS
    hub.requests.clear()
    assert model.state() == ("cached", "")
    assert hub.requests == []


def test_another_model_under_the_same_name_is_refused(listed: Path, hub: FakeHub) -> None:
    """The repository's owner may have replaced the file: the list's hash decides."""
    hub.files["someone/far"]["model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(UserError, match="is damaged: its SHA-256"):
        named_models()["far-large"].folder()
    del hub.files["someone/far"]["model.safetensors"]
    with pytest.raises(UserError, match=r"hf://someone/far holds no model\.safetensors"):
        named_models()["far-large"].folder()


def test_the_nearest_name_is_suggested(listed: Path) -> None:
    assert did_you_mean("near-smal") == ": did you mean near-small?"
    assert did_you_mean("runs/dem", ("runs/demo", "runs/other")) == ": did you mean runs/demo?"
    assert did_you_mean("xyz") == "; models by name: near-small, far-large (ecmvae models)"
