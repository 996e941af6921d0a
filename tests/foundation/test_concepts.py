"""Concepts: a tagger and a segmenter as one model, from the formula to the file."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from live_server import LiveServer, transport_stream
from odd_videos import OddVideo, Track
from torch import Tensor

from ecmvae import VideoPredictor
from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.foundation.audio.ast import AST
from ecmvae.foundation.kept import KeptAnswers
from ecmvae.foundation.visual.clipseg import CLIPSeg
from ecmvae.hub.concepts import ConceptsName
from ecmvae.models.checkpoint import load_model
from ecmvae.models.concepts import Concepts
from ecmvae.prediction.options import PredictorOptions


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of noise in picture and sound."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (24, 60, 80, 3), np.uint8)
    sound = 0.3 * generator.normal(size=(1, 3 * 48_000)).astype(np.float32)
    track = Track(sound, codec="aac")
    return OddVideo(frames, rate=Fraction(8), tracks=[track]).write(
        tmp_path_factory.mktemp("films") / "noise.mp4"
    )


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


@pytest.fixture
def name(hub_folders: dict[str, Path]) -> str:
    return f"concepts:ast={hub_folders['ast']}+clipseg={hub_folders['clipseg']}"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many pictures were looked at, how many sounds were listened to, and how often networks were loaded."""
    counts = {"look": 0, "listen": 0, "load": 0}

    def count(kind: type, method: str) -> None:
        original, load = getattr(kind, method), kind.from_weights.__func__

        def counted(self: object, rows: Tensor) -> Tensor:
            counts[method] += len(rows)
            return original(self, rows)

        def loaded(cls: type, *words: object, **more: object) -> object:
            counts["load"] += 1
            return load(cls, *words, **more)

        monkeypatch.setattr(kind, method, counted)
        monkeypatch.setattr(kind, "from_weights", classmethod(loaded))

    count(CLIPSeg, "look")
    count(AST, "listen")
    return counts


def test_clipseg_outlines_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer, CLIPSegForImageSegmentation

    texts = ["a dog", "the sound of rain", "person"]
    frames = torch.randn(2, 3, 64, 64)
    ours = CLIPSeg.from_weights(str(hub_folders["clipseg"]))
    network = CLIPSegForImageSegmentation.from_pretrained(hub_folders["clipseg"]).eval()
    words = AutoTokenizer.from_pretrained(hub_folders["clipseg"])(
        texts, padding=True, return_tensors="pt"
    )
    seen = ours.look(frames)
    for picture, looked in zip(frames, seen, strict=True):
        with torch.no_grad():
            theirs = network(
                input_ids=words.input_ids,
                attention_mask=words.attention_mask,
                pixel_values=picture.expand(len(texts), -1, -1, -1),
            ).logits
        torch.testing.assert_close(ours.outline(looked, texts), theirs)
    assert ours.outline(seen[0], texts).std() > 0


def test_the_formula(name: str) -> None:
    model = load_model(name)
    assert isinstance(model, Concepts)
    assert model.class_names[0] == "background"
    assert {"a dog", "a guitar", "a person speaking", "rain"} <= {*model.class_names}
    assert "silence" not in model.class_names
    model = model.with_concepts("dog, guitar, speech")
    frames, heard = torch.randn(1, 2, 3, 64, 64), torch.rand(1, 2, 8)
    heard[0, 1] = 0.001  # nothing is audible in the second frame
    answer = model.name_masks(frames, heard)
    activity = torch.stack([heard[..., [1, 2]].amax(-1), heard[..., 3], heard[..., 0]], dim=-1)
    torch.testing.assert_close(answer.activity, activity)
    segmenter = model.segmenter
    seen = segmenter.look(frames[0])[0].half().float()  # as it is kept
    masks = segmenter.outline(seen, ["dog", "guitar", "speech"]).sigmoid()
    silent = torch.ones(64, 64)
    for a, m in zip(activity[0, 0], masks, strict=True):
        silent = silent * (1 - a * m)
    torch.testing.assert_close(answer.probability[0, 0], 1 - silent)
    assert torch.equal(
        answer.classes[0, 0],
        ((activity[0, 0][:, None, None] * masks).argmax(0) + 1).to(torch.uint8),
    )
    assert answer.probability[0, 1].max() == 0
    assert answer.classes[0, 1].max() == 0
    logits = model(frames, heard).logits
    torch.testing.assert_close(logits.sigmoid()[0, :, 0], answer.probability[0], atol=2e-6, rtol=0)
    with pytest.raises(UserError, match="is not saved"):
        model.save_pretrained("x")


@pytest.mark.parametrize("tagger", ["ast", "clap", "pe_a_frame"])
def test_from_the_command_line_to_a_film(
    tagger: str,
    hub_folders: dict[str, Path],
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = f"concepts:{tagger}={hub_folders[tagger]}+clipseg={hub_folders['clipseg']}"
    out = tmp_path / "out"
    words = [
        "predict",
        str(film),
        "--checkpoint",
        model,
        "--concepts",
        "dog, guitar, siren",
        "--out",
        str(out),
    ]
    words += [
        "--npz",
        "--fps",
        "1",
        "--progress",
        "false",
        "--threshold",
        "0.1",
        "--manifest",
        str(tmp_path / "m.jsonl"),
    ]
    assert main(words) == 0, capsys.readouterr().err
    assert (out / "noise.overlay.mp4").stat().st_size > 10_000
    with np.load(out / "noise.npz") as arrays:
        assert arrays["class_names"].tolist() == ["background", "dog", "guitar", "siren"]
        assert arrays["class_activity"].shape == (len(arrays["timestamps"]), 3)
        assert 0 <= arrays["class_activity"].min() <= arrays["class_activity"].max() <= 1
        assert set(np.unique(arrays["classes"])) <= {0, 1, 2, 3}
        assert (arrays["classes"] > 0).sum() == arrays[
            "masks"
        ].sum()  # every pixel of a mask has a name


def test_two_films_load_every_network_once(
    name: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    for kind in (AST, CLIPSeg):

        def counting(weights, plain=kind.from_weights, which=kind.__name__, **given) -> object:
            loaded.append(which)
            return plain(weights, **given)

        monkeypatch.setattr(kind, "from_weights", counting)
    other = film.with_name("other.mp4")
    other.write_bytes(film.read_bytes())
    words = [
        "predict",
        str(film),
        str(other),
        "--checkpoint",
        name,
        "--concepts",
        "dog",
        "--fps",
        "1",
    ]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    assert sorted(loaded) == ["AST", "CLIPSeg"]


def test_other_words_look_and_listen_to_nothing_again(
    name: str, film: Path, looks: dict[str, int]
) -> None:
    predictor = VideoPredictor(name, options=PredictorOptions(fps=1.0, concepts="dog, guitar"))
    first = predictor.predict(film)
    assert looks["load"] == 2
    before = dict(looks)
    assert before["look"] == before["listen"] == len(first.key_times)
    other = predictor.with_options(
        PredictorOptions(fps=1.0, concepts="rain", threshold=0.2)
    ).predict(film)
    assert other.class_names == ("background", "rain")
    assert looks == before  # networks, pictures and sounds: all as they were
    again = VideoPredictor(name, options=PredictorOptions(fps=1.0, concepts="guitar, dog")).predict(
        film
    )
    # another process would not, either
    assert (looks["look"], looks["listen"]) == (before["look"], before["listen"])
    np.testing.assert_array_equal(again.key_probabilities, first.key_probabilities)
    assert first.activity is not None
    assert set(first.activity) == {"dog", "guitar"}
    assert len(first.activity["dog"]) == len(first)
    assert set(first.heard(-1.0)) == {"dog", "guitar"}
    assert first.heard(1.0) == ()


def test_without_the_cache_nothing_is_kept(
    name: str, film: Path, looks: dict[str, int], tmp_path: Path
) -> None:
    words = [
        "predict",
        str(film),
        "--checkpoint",
        name,
        "--concepts",
        "dog",
        "--fps",
        "1",
        "--progress",
        "false",
    ]
    words += ["--overlay", "false", "--activity", "--cache", "false"]
    for place in ("one", "two"):
        assert main([*words, "--out", str(tmp_path / place)]) == 0
    assert looks["look"] == looks["listen"] == 2 * 3  # three key frames, looked at both times
    assert not (tmp_path / "kept" / "ecmvae").exists()
    one, two = ((tmp_path / place / "noise.activity.csv").read_text() for place in ("one", "two"))
    assert one == two


def test_a_stream_has_names_and_is_not_kept(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveServer(transport_stream(2.0), 2.0) as server:
        words = [
            "predict",
            server.url,
            "--checkpoint",
            name,
            "--concepts",
            "dog, siren",
            "--threshold",
            "0.1",
        ]
        assert main([*words, "--activity", "--out", str(tmp_path / "out")]) == 0, (
            capsys.readouterr().err
        )
    (table,) = (tmp_path / "out").glob("*.activity.csv")
    rows = table.read_text().splitlines()
    assert rows[0] == "frame,time,loudness,area,dog,siren"
    assert all(0 <= float(value) <= 1 for row in rows[1:] for value in row.split(",")[4:])
    lines = capsys.readouterr().out.splitlines()
    assert "dog 0." in lines[0]
    assert "siren 0." in lines[0]
    assert not (tmp_path / "kept" / "ecmvae").exists()


def test_yamnet_is_the_tagger_that_need_not_be_fetched(
    hub_folders: dict[str, Path], film: Path, tmp_path: Path
) -> None:
    model = f"concepts:yamnet+clipseg={hub_folders['clipseg']}"
    options = PredictorOptions(concepts="rain, dog", cache=False)
    result = VideoPredictor(model, "cpu", options).predict(film)
    # what AudioSet's network says of noise: sooner rain than a dog
    assert 0.1 > result.activity["dog"].max() < result.activity["rain"].max()


def test_none_of_these(
    name: str, film: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AST, "listen", lambda self, rows: torch.full((len(rows), 8), 0.2))
    result = VideoPredictor(name, options=PredictorOptions(fps=1.0, concepts="dog")).predict(film)
    assert result.heard() == ()
    assert not result.masks.any()
    assert "none of these sounds: dog (highest: dog, 0.20)" in caplog.text


def test_the_evaluator_scores_it(name: str) -> None:
    from ecmvae.data.synthetic import SyntheticAVS

    model = load_model(name)
    report = evaluate(
        model, SyntheticAVS("s4", length=2, size=64), EvaluateSettings(progress=False)
    )
    assert 0 <= report.scores["real"].per_clip.miou <= 1


def test_the_evaluators_command_scores_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ecmvae.data.miniature import write_miniature

    write_miniature(tmp_path / "data", "s4", {"train": 1, "val": 1, "test": 2})
    out = tmp_path / "report"
    words = [
        "evaluate",
        "--checkpoint",
        name,
        "--task",
        "s4",
        "--data",
        str(tmp_path / "data" / "Single-source"),
    ]
    words += ["--robustness"]
    assert main([*words, "--out", str(out), "--device", "cpu"]) == 0, capsys.readouterr().err
    report = json.loads((out / "s4_test" / "report.json").read_text())
    robust = json.loads((out / "s4_test" / "robustness.json").read_text())
    assert {"noise", "noise_alone"} <= robust["conditions"].keys()
    assert report["about"]["checkpoint"] == name
    assert report["about"]["sha256"].count("+") == 1
    assert main(["export", "--checkpoint", name, "--out", str(tmp_path / "model.onnx")]) == 2
    assert "not exported as onnx" in capsys.readouterr().err


def test_mistakes_are_one_line(
    name: str,
    film: Path,
    hub_folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    swapped = f"concepts:ast={hub_folders['clap']}+clipseg={hub_folders['clipseg']}"
    for checkpoint, concepts, complaint in (
        (name, "a dogg", "the tagger has no name for 'a dogg': nearest are dog"),
        (name, "dog\x1b[31m", "not text"),
        (swapped, "dog", "does not fit: it is a 'clap', needed is audio-spectrogram-transformer"),
        ("concepts", "dog", "ast is not in the hub's cache: ecmvae fetch ast"),
        (
            "concepts:dog+clipseg",
            "dog",
            "unknown tagger 'dog' of concepts: choose from ast, clap, pe_a_frame",
        ),
        ("concepts:ast", "dog", "write concepts:ast+clipseg"),
        ("collage-small", "dog", "--concepts goes with --checkpoint concepts"),
    ):
        words = [
            "predict",
            str(film),
            "--checkpoint",
            checkpoint,
            "--concepts",
            concepts,
            "--out",
            str(tmp_path / "o"),
        ]
        assert main(words) == 2
        errors = [
            line
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("ecmvae: error")
        ]
        assert len(errors) == 1
        assert complaint in errors[0]
    assert ConceptsName.parse("runs/concepts") is None
    assert ConceptsName.parse(str(ConceptsName())) == ConceptsName()


def test_kept_answers_have_a_limit_and_mend_themselves(tmp_path: Path) -> None:
    calls: list[int] = []

    def double(rows: Tensor) -> Tensor:
        calls.append(len(rows))
        return 2 * rows

    rows = torch.arange(40.0).reshape(20, 2)
    kept = KeptAnswers(tmp_path, limit=1000)
    assert torch.equal(kept("network", double, rows), 2 * rows)
    assert torch.equal(kept("network", double, rows[5:]), 2 * rows[5:])
    assert torch.equal(kept("other", double, rows[:1]), 2 * rows[:1])
    assert calls == [20, 1]
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"cut")
    assert torch.equal(kept("network", double, rows[:3]), 2 * rows[:3])
    kept._prune()
    for number in range(260):
        kept("more", double, torch.full((1, 2), float(number)))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert size <= 1000 + 256 * 100  # pruned at every 256th
    assert torch.equal(KeptAnswers(None)("network", double, rows), 2 * rows)
    assert not [*tmp_path.glob("*.tmp")]
