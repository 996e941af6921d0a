"""The Space answers to its public name there, and to this machine alone elsewhere."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from ecmvae.serving import command

SPACE = Path(__file__).parents[2] / "tools" / "space"


@pytest.mark.parametrize(
    ("name", "host", "allowed"),
    [("", "127.0.0.1", None), ("me-x.hf.space", "0.0.0.0", ["me-x.hf.space"])],
)
def test_who_may_ask(
    name: str, host: str, allowed: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(command, "app", lambda **options: given.update(options))
    monkeypatch.setenv("SPACE_HOST", name)
    monkeypatch.setenv("ECMVAE_CHECKPOINT", "collage-small")
    runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    assert (given["host"], given["allowed_hosts"], given["checkpoint"]) == (
        host,
        allowed,
        "collage-small",
    )


def test_the_head_of_its_page() -> None:
    head = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert head["sdk"] == "gradio"
    assert (SPACE / head["app_file"]).is_file()
    assert len(head["short_description"]) <= 60
    assert Requirement((SPACE / "requirements.txt").read_text().strip()).name == "ecmvae"
