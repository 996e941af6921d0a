"""Text from strangers: hostile YAML, JSON, cards, lists and pipes are each one printable line and exit code 2."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ecmvae import cli
from ecmvae.config import load_config
from ecmvae.data.avsbench import read_composition
from ecmvae.data.layout import read_table
from ecmvae.data.video import probe
from ecmvae.errors import UserError
from ecmvae.foreign_text import LARGE, SMALL, parse_json, parse_yaml, printable, read_text, short
from ecmvae.hub import find
from ecmvae.hub.folder import _read_metadata
from ecmvae.prediction.onnx_engine import _description
from ecmvae.prediction.sources import resolve_sources

LAUGHS = (
    "a: &a ["
    + "x, " * 9
    + "x]\n"
    + "".join(
        f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n"
        for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
)
"""600 bytes that name 400 million values."""


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def _ecmvae(*words: str | Path) -> str:
    """The error of a command, which must be one printable line, in a process of 4 GB that is given 60 seconds."""
    command = [sys.executable, "-m", "ecmvae", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, preexec_fn=_limit_memory
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()
    return done.stderr


@pytest.mark.parametrize("option", ["--config", "--model"])
def test_a3_aliases_that_multiply_are_refused(tmp_path: Path, option: str) -> None:
    path = tmp_path / "laughs.yaml"
    path.write_text(LAUGHS + "train: {epochs: *i}\nlatent: *i\n")
    assert "holds an alias" in _ecmvae("train", option, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: " + "[" * 20_000, "nested more than 50 deep"),
        ("train: " + "{a: " * 3000 + "1" + "}" * 3000, "nested more than 50 deep"),
        ("train: {name: 2001-99-99}", "month must be in 1..12"),
        ("train: {epochs: 0b_}", "invalid literal"),
        (f"train: {{epochs: {'9' * 5000}}}", "more than 100 digits"),
        (f"train: {{epochs: 0x{'f' * 5000}}}", "more than 100 digits"),
        (f"train: {{epochs: 1{':1' * 300}.0}}", "too large"),  # a float of base 60
        ('train: {name: "a\\0b"}', "null character"),
        ("train: {name: !!bool maybe}", "maybe"),
        (
            f"train: {{epochs: [{', '.join(['1'] * 100_000)}]}}",
            "more than 20000 values",
        ),  # 300 kB took 10 seconds
        ("base: [5]", "must be a list of files, not [5]"),
    ],
)
def test_b11_b12_yaml_that_fails_in_unusual_ways(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert cli.main(["train", "--config", str(tmp_path / "mine.yaml")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "mine.yaml" in error
    assert error.count("\n") == 1
    assert len(error) < 400 + len(str(tmp_path))


def test_b12_null_characters_in_lists_of_videos_and_paths(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.mp4\na\0b.mp4\n")
    with pytest.raises(UserError, match=r"list\.txt .*null characters"):
        resolve_sources([str(tmp_path / "list.txt")])
    with pytest.raises(UserError, match="no file has such a name"):
        probe(tmp_path / "a\0b.mp4")


@pytest.mark.parametrize("option", ["--config", "--data"])
def test_b13_a_pipe_for_settings_is_refused_at_once(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in _ecmvae("train", option, tmp_path / "pipe")


def _too_slow(number: int, frame: object) -> None:
    raise TimeoutError


def test_b13_a_pipe_for_a_video_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(10)
    try:
        with pytest.raises(
            UserError, match=r"pipe\.mp4 \(it is a pipe or a device, not a regular file\)"
        ):
            probe(tmp_path / "pipe.mp4")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_b13_endless_and_large_files_are_refused(tmp_path: Path) -> None:
    assert "not a regular file" in _ecmvae("train", "--config", "/dev/zero")
    (tmp_path / "large.yaml").write_text("#" * (SMALL + 1))
    with pytest.raises(UserError, match=r"large\.yaml is larger than 1 MB"):
        load_config(tmp_path / "large.yaml")
    assert len(read_text(tmp_path / "large.yaml", LARGE)) == SMALL + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"class_names": 5}', "must be a list of names, not 5"),
        ('{"class_names": ["cat", "\\u001b[31m"]}', "must be a list of names"),
        ("[" * 100_000, "recursion"),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
        (f'{{"steps": {"9" * 101}}}', "more than 100 digits"),
        ('{"name": "a\\u0000b"}', "null character"),
        ("[]", "must hold a mapping"),
        ("{", "is not valid JSON"),
    ],
)
def test_b18_metadata_of_a_model_folder(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        _read_metadata(tmp_path / "metadata.json")
    assert "metadata.json" in str(raised.value)


def test_b18_tables_of_data_sets(tmp_path: Path) -> None:
    (tmp_path / "clips.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"clips\.json is not valid JSON"):
        read_composition(tmp_path / "clips.json")
    (tmp_path / "clips.csv").write_text(f"name\n{'a' * 5000}/b\n")
    with pytest.raises(UserError, match="cannot name a file") as raised:
        read_table(tmp_path / "clips.csv", ["name"])
    assert len(str(raised.value)) < 200 + len(str(tmp_path))


DESCRIPTION = {
    "image_size": 64,
    "num_frames": 5,
    "class_names": [],
    "normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]},
    "front_end": "vggish",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": 5}, "says 5 for the class_names"),
        ({"image_size": -1}, "says -1 for the image_size"),
        ({"num_frames": "five"}, "says 'five' for the num_frames"),
        ({"normalisation": []}, r"says \[\] for the normalisation"),
        ({"front_end": None}, "says None for the front_end"),
    ],
)
def test_b18_an_onnx_file_whose_description_lies(change: dict[str, object], message: str) -> None:
    path = Path("model.onnx")
    assert _description({"ecmvae.model": json.dumps(DESCRIPTION)}, path) == DESCRIPTION
    with pytest.raises(UserError, match=f"model.onnx {message}"):
        _description({"ecmvae.model": json.dumps(DESCRIPTION | change)}, path)
    for properties in ({"ecmvae.model": "[1]"}, {"ecmvae.config": "5"}):
        with pytest.raises(UserError, match="says None for the image_size"):
            _description(properties, path)
    with pytest.raises(UserError, match=r"in model\.onnx is not valid JSON"):
        _description({"ecmvae.config": "not JSON"}, path)


def test_b20_no_escape_sequence_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--config", "\x1b[31mred\x1b[0m.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "ecmvae: error: file not found: '\\x1b[31mred\\x1b[0m.yaml', and no recipe"
    )
    assert "\x1b" not in error
    assert cli.main(["\x1b]0;title\x07"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder with the files of a model; its weights are not valid."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (folder / name).touch()
    return folder


def test_b20_a_card_is_printed_without_escape_sequences(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model_folder / "README.md").write_text(
        "# Chat 猫\n\tred: \x1b[31m, title: \x1b]0;x\x07, C1: \x9b, order: \u202e\n"
    )
    assert cli.main(["models", "--card", str(model_folder)]) == 0
    expected = "# Chat 猫\n\tred: \\x1b[31m, title: \\x1b]0;x\\x07, C1: \\x9b, order: \\u202e\n\n"
    assert capsys.readouterr().out == expected


def test_b20_a_card_does_not_lead_out_of_its_folder(
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "secret").write_text("secret")
    (model_folder / "README.md").symlink_to("../secret")
    assert cli.main(["models", "--card", str(model_folder)]) == 2
    captured = capsys.readouterr()
    assert "leaves the model folder" in captured.err
    assert "secret" not in captured.out
    # the hub's cache links its files to ../../blobs
    monkeypatch.setattr(find, "cache_folder", lambda: tmp_path)
    assert cli.main(["models", "--card", str(model_folder)]) == 0
    assert capsys.readouterr().out == "secret\n"


@pytest.mark.parametrize(("parse", "dump"), [(parse_json, json.dumps), (parse_yaml, json.dumps)])
def test_ordinary_values_pass(
    parse: Callable[[str, str], object], dump: Callable[[object], str]
) -> None:
    value: object = {"a": [1, -2, 3.5, True, None, "été"], "seed": 2**63}
    assert parse(dump(value), "it") == value
    for _ in range(47):
        value = [value]
    # 47 lists around a mapping, its list and the values: 50 deep
    assert parse(dump(value), "it") == value
    with pytest.raises(UserError, match="it is not valid"):
        parse(dump([value]), "it")


def test_values_are_quoted_short_and_printable() -> None:
    assert short("猫") == "'猫'"
    assert short("\x1b[0m\n") == "'\\x1b[0m\\n'"
    assert short("x" * 80) == "'" + "x" * 76 + "..."
    assert len(short(["\x1b" * 1000], 40)) == 40
    assert printable("a\tb\nc\r\u2066") == "a\tb\nc\\r\\u2066"
