"""The list of foundation models, and `ecmvae fetch` against a hub on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, serving

from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.hub.catalogue import CATALOGUE, find_model, weights_folder
from ecmvae.hub.client import HubAddress

CLIPSEG = CATALOGUE["clipseg"].repository or ""
DINO = CATALOGUE["dinov3-vits16"].repository or ""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    folder = tmp_path / "original"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clipseg"}))
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle" * 2000)
    (folder / "modeling.py").write_text("raise SystemExit('code of a stranger')")
    with serving(monkeypatch, tmp_path / "cache") as hub:
        for repository in (CLIPSEG, DINO):
            hub.add(repository, folder)
        # the hub's library waits between its tries
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield hub


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["fetch", *words])
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("ecmvae: ")]
    assert len(errors) == (code != 0)
    return code, said.out, "".join(errors)


def test_every_entry_says_what_a_user_has_to_know() -> None:
    for name, model in CATALOGUE.items():
        assert name == model.name
        assert model.licence == model.licence.lower()
        assert model.purpose
        # nothing restricted looks like a default
        assert model.permissive or model.reserve or model.gated
        if model.repository is not None:
            assert HubAddress.parse(str(model.address)) == model.address
    assert not find_model("imagebind").permissive
    assert not find_model("sam3").permissive
    with pytest.raises(UserError, match="did you mean clipseg"):
        find_model("clip-seg")
    with pytest.raises(UserError, match="not on the hub"):
        find_model("imagebind").address  # noqa: B018


def test_fetched_without_pickles_and_code_then_used_offline(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="clipseg is not in the hub's cache: ecmvae fetch clipseg"):
        weights_folder("clipseg")
    assert hub.requests == []  # nothing but `ecmvae fetch` downloads
    assert not CATALOGUE["clipseg"].cached()
    code, out, _ = _run(capsys, "clipseg")
    assert code == 0
    assert f"commit {hub.commit(CLIPSEG)}" in out
    assert f"hf://{CLIPSEG}@{hub.commit(CLIPSEG)}" in out
    folder = weights_folder("clipseg")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert weights_folder(f"hf://{CLIPSEG}@{folder.name}") == folder == weights_folder(str(folder))
    assert CATALOGUE["clipseg"].cached()

    hub.requests.clear()
    assert _run(capsys, "clipseg")[0] == 0
    monkeypatch.setenv("ECMVAE_OFFLINE", "1")
    assert _run(capsys, "clipseg")[0] == 0
    assert hub.requests == []


def test_no_network_and_no_cache(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert "is there a network" in _run(capsys, "clipseg")[2]
    monkeypatch.setenv("ECMVAE_OFFLINE", "1")
    assert "offline mode forbids fetching" in _run(capsys, "clipseg")[2]


def test_what_the_hub_refuses(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "hub has no hf://someone/nothing" in _run(capsys, "hf://someone/nothing")[2]
    assert "no such revision" in _run(capsys, f"hf://{CLIPSEG}@v9")[2]
    hub.gated[DINO] = "hf_accepted"
    accepted = ("dinov3-vits16", "--accept_licence", "dinov3-vits16")
    for token in (None, "hf_other"):  # 401, then 403
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        code, _, error = _run(capsys, *accepted)
        assert code == 2
        assert "accept its terms on its page, then log in" in error
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert _run(capsys, *accepted)[0] == 0


def test_a_licence_has_to_be_accepted_by_name(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["dinov3-vits16"], ["dinov3-vits16", "--accept_licence", "clipseg"]):
        code, _, error = _run(capsys, *words)
        assert code == 2
        assert "dinov3-license" in error
        assert "--accept_licence dinov3-vits16" in error
    assert "cc-by-nc-sa-4.0" in _run(capsys, "imagebind")[2]
    assert "not on the hub" in _run(capsys, "imagebind", "--accept_licence", "imagebind")[2]
    assert "sam-license" in _run(capsys, "sam3")[2]
    assert "has no effect" in _run(capsys, f"hf://{CLIPSEG}", "--accept_licence", "x")[2]
    assert hub.requests == []


def test_a_broken_connection_and_an_interrupted_download(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cut_after = 60_000
    code, _, error = _run(capsys, "clipseg")
    assert code == 2
    assert "transfer of hf://CIDAS/clipseg-rd64-refined@main failed" in error
    with pytest.raises(UserError, match="ecmvae fetch clipseg"):
        weights_folder("clipseg")

    # 10 MB: what was received is kept
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cuts = 1
    hub.requests.clear()
    hub.ranges.clear()
    assert _run(capsys, "clipseg")[0] == 0
    assert hub.ranges == ["model.safetensors bytes=60000-"]  # one break, and on from there
    assert "GET config.json" not in hub.requests  # whole files of the interrupted command were kept


def test_another_content_is_refused(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.swapped = bytes(256 * 400)
    assert "model.safetensors is damaged: its SHA-256 is" in _run(capsys, "clipseg")[2]


def test_a_repository_without_weights(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    del hub.files[CLIPSEG]["model.safetensors"]
    assert "lacks model.safetensors" in _run(capsys, "clipseg")[2]


def test_the_list_shows_them_without_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("pip install 'ecmvae[foundation]'" in line for line in lines)
    for model in CATALOGUE.values():
        (line,) = (line for line in lines if f" {model.name} " in line)
        assert model.licence in line
    script = (
        "import sys; from ecmvae.cli import main; main(['models']); "
        "sys.exit(bool({'torch', 'transformers'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
