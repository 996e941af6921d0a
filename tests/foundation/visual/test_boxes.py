"""Detectors and mask models: from texts to the masks of single things, and to a film."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_videos import OddVideo, Track
from torch import Tensor, nn

from ecmvae import VideoPredictor
from ecmvae.cli import main
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.foundation.audio.ast import ASTFrontEnd
from ecmvae.foundation.kept import KeptAnswers
from ecmvae.foundation.visual.boxes import MOST, BoxSegmenter
from ecmvae.foundation.visual.edgetam import EdgeTAM
from ecmvae.foundation.visual.grounding_dino import GroundingDINO
from ecmvae.foundation.visual.owlv2 import OWLv2
from ecmvae.foundation.visual.sam2 import SAM2
from ecmvae.hub.concepts import ConceptsName
from ecmvae.models.checkpoint import load_model
from ecmvae.models.concepts import Concepts
from ecmvae.prediction.options import PredictorOptions
from ecmvae.visual.normalisation import IMAGENET, Normalisation

FRAMES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise in picture and sound."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (16, 48, 64, 3), np.uint8)
    track = Track(0.3 * generator.normal(size=(1, 2 * 48_000)).astype(np.float32), codec="aac")
    return OddVideo(frames, rate=Fraction(8), tracks=[track]).write(
        tmp_path_factory.mktemp("films") / "noise.mp4"
    )


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


@pytest.fixture
def name(hub_folders: dict[str, Path]) -> str:
    return _name(hub_folders, "grounding_dino", "sam2")


def _name(folders: dict[str, Path], detector: str, mask_model: str) -> str:
    return f"concepts:ast={folders['ast']}+{detector}={folders[detector]}+{mask_model}={folders[mask_model]}"


def test_grounding_dino_detects_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer, GroundingDinoForObjectDetection

    folder = hub_folders["grounding_dino"]
    ours = GroundingDINO.from_weights(str(folder))
    corners, scores = ours.detect(FRAMES, ["a dog", "Person speaking"])
    words = AutoTokenizer.from_pretrained(folder)(
        ["a dog. person speaking."] * 2, return_tensors="pt"
    )
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        found = network(FRAMES, words.input_ids, attention_mask=words.attention_mask)
    tokens = found.logits.sigmoid()  # [CLS] a dog . person speaking . [SEP]
    torch.testing.assert_close(
        scores, torch.stack([tokens[..., 1:3].amax(-1), tokens[..., 4:6].amax(-1)], dim=-1)
    )
    x, y, w, h = found.pred_boxes.unbind(-1)
    wanted = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1).clamp(0, 1)
    torch.testing.assert_close(corners, wanted)
    assert scores.std() > 0.01


def test_more_texts_than_fit_are_asked_one_caption_after_the_other(
    hub_folders: dict[str, Path],
) -> None:
    # reads 30 tokens and their ends
    ours = GroundingDINO.from_weights(str(hub_folders["grounding_dino"]))
    # five tokens each with its full stop, then 2 and 4
    texts = ["the sound of rain"] * 5 + ["dog", "cat or rain"]
    corners, scores = ours.detect(FRAMES, texts)
    assert corners.shape == (2, 24, 4)
    first, second = ours.detect(FRAMES, texts[:6]), ours.detect(FRAMES, texts[6:])
    torch.testing.assert_close(corners, torch.cat([first[0], second[0]], dim=1))
    torch.testing.assert_close(scores[:, :12, :6], first[1])
    torch.testing.assert_close(scores[:, 12:, 6:], second[1])
    assert not scores[:, :12, 6:].any()
    assert not scores[:, 12:, :6].any()
    with pytest.raises(UserError, match="is too long for the detector"):
        ours.detect(FRAMES, ["rain or " * 20])
    with pytest.raises(UserError, match="has no words to look for"):
        ours.detect(FRAMES, ["dog", "..."])


def test_owlv2_detects_as_transformers_does(hub_folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer, Owlv2ForObjectDetection

    ours = OWLv2.from_weights(str(hub_folders["owlv2"]))
    texts = ["a dog", "the sound of rain"]
    frames = FRAMES[..., :48, :48]
    corners, scores = ours.detect(frames, texts)
    words = AutoTokenizer.from_pretrained(hub_folders["owlv2"])(
        texts * 2, padding=True, return_tensors="pt"
    )
    network = Owlv2ForObjectDetection.from_pretrained(hub_folders["owlv2"]).eval()
    words.input_ids[words.input_ids == 0] = (
        3  # transformers takes a text that begins with number 0 for none
    )
    ours_again = ours.network.owlv2.get_text_features(
        words.input_ids[:2], attention_mask=words.attention_mask[:2]
    )
    with torch.no_grad():
        found = network(words.input_ids, frames, attention_mask=words.attention_mask)
        patches = ours.network.image_embedder(frames)[0].flatten(1, 2)
        logits, _ = ours.network.class_predictor(
            patches, ours_again.pooler_output.expand(2, -1, -1)
        )
    torch.testing.assert_close(logits, found.logits)
    assert scores.shape == found.logits.shape == (2, 9, 2)
    x, y, w, h = found.pred_boxes.unbind(-1)
    wanted = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1).clamp(0, 1)
    torch.testing.assert_close(corners, wanted)


@pytest.mark.parametrize("kind", [SAM2, EdgeTAM])
def test_mask_models_outline_as_transformers_does(
    kind: type[SAM2] | type[EdgeTAM], hub_folders: dict[str, Path]
) -> None:
    import transformers

    folder = hub_folders[kind.__name__.lower()]
    ours = kind.from_weights(str(folder))
    corners = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0], [0.6, 0.6, 0.7, 0.8]])
    maps = ours.embed(FRAMES)
    network = getattr(transformers, kind.model).from_pretrained(folder).eval()
    for place, frame in enumerate(FRAMES):
        masks = ours.outline([each[place : place + 1] for each in maps], corners)
        with torch.no_grad():
            found = network(frame[None], input_boxes=64 * corners[None], multimask_output=False)
        torch.testing.assert_close(masks, found.pred_masks[0, :, 0], atol=1e-4, rtol=1e-3)
        assert masks.shape == (3, ours.map_size, ours.map_size) == (3, 16, 16)
        assert 0.01 < (masks > 0).float().mean() < 0.99
    half = ours.embed(FRAMES[:, :, ::2, ::2])  # a picture of another size is resized
    assert [each.shape for each in half] == [each.shape for each in maps]


class _Detector(nn.Module):
    """Answers what it was given, and notes what it saw."""

    threshold, folder, normalisation = 0.5, None, Normalisation((0.2, 0.3, 0.4), (0.5, 0.5, 0.25))

    def __init__(self, corners: Tensor, scores: Tensor) -> None:
        super().__init__()
        self.answer = corners, scores

    def detect(self, frames: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        corners, scores = (
            each.expand(len(frames), -1, -1) if len(each) == 1 else each for each in self.answer
        )
        return corners, scores


class _MaskModel(nn.Module):
    """Fills each box: 1 inside and -1 outside."""

    image_size, map_size, folder, normalisation = 64, 16, None, IMAGENET

    def embed(self, frames: Tensor) -> list[Tensor]:
        self.seen = frames
        return [frames]

    def outline(self, maps: list[Tensor], corners: Tensor) -> Tensor:
        assert len(maps[0]) == 1
        grid = (torch.arange(16) + 0.5) / 16
        x, y = grid[None, None, :], grid[None, :, None]
        left, top, right, bottom = (each[:, None, None] for each in corners.unbind(-1))
        return ((x > left) & (x < right) & (y > top) & (y < bottom)).float() * 2 - 1


def test_of_one_thing_the_surest_box_is_kept() -> None:
    one, shifted, other = [0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    corners = torch.tensor(
        [[one, shifted, other, shifted], [one, one, one, one], [other, other, other, one]]
    )
    scores = torch.tensor(
        [
            [
                [0.6, 0.1],
                [0.9, 0.1],
                [0.1, 0.7],
                [0.2, 0.8],
            ],  # the second text's thing is not the first's
            [[0.5, 0.1], [0.4, 0.3], [0.2, 0.2], [0.1, 0.5]],  # not above the threshold
            [[0.6, 0.1], [0.1, 0.2], [0.2, 0.1], [0.1, 0.1]],
        ]
    )
    segmenter = BoxSegmenter(_Detector(corners, scores), _MaskModel())  # type: ignore[arg-type]
    first, second, third = segmenter.find(torch.randn(3, 3, 64, 64).clamp(-0.4, 1), ["dog", "cat"])
    assert first[:, 0].tolist() == [0, 1, 1]
    torch.testing.assert_close(first[:, 1], torch.tensor([0.9, 0.8, 0.7]))
    assert second.shape == (0, 2 + 256)
    assert third[:, 0].tolist() == [0]
    mask = third[0, 2:].unflatten(0, (16, 16)) > 0
    assert torch.equal(mask.nonzero().amin(0), torch.tensor([10, 10]))
    assert torch.equal(mask.nonzero().amax(0), torch.tensor([13, 13]))


def test_the_mask_model_has_its_own_normalisation() -> None:
    scores = torch.tensor([[[0.1]], [[0.9]]])
    detector, mask_model = _Detector(torch.tensor([[[0.0, 0, 1, 1]]] * 2), scores), _MaskModel()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    BoxSegmenter(detector, mask_model).find(detector.normalisation(pixels), ["dog"])  # type: ignore[arg-type]
    # of the frame in which there is something
    torch.testing.assert_close(mask_model.seen, IMAGENET(pixels[1:]))


def test_at_most_so_many_things() -> None:
    corners = torch.stack([torch.tensor([k / 40, 0.0, (k + 1) / 40, 1.0]) for k in range(40)])[None]
    scores = torch.linspace(0.5, 0.9, 40)[None, :, None]
    (found,) = BoxSegmenter(_Detector(corners, scores), _MaskModel()).find(FRAMES[:1], ["dog"])  # type: ignore[arg-type]
    assert len(found) == MOST
    torch.testing.assert_close(found[:, 1], scores[0, -MOST:, 0].flip(0))


@pytest.mark.parametrize(
    ("detector", "mask_model"), [("grounding_dino", "sam2"), ("owlv2", "edgetam")]
)
def test_from_the_command_line_to_a_film(
    detector: str,
    mask_model: str,
    hub_folders: dict[str, Path],
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = [
        "predict",
        str(film),
        "--checkpoint",
        _name(hub_folders, detector, mask_model),
        "--out",
        str(out),
    ]
    words += [
        "--concepts",
        "dog, guitar, siren",
        "--threshold",
        "0.1",
        "--fps",
        "2",
        "--progress",
        "false",
    ]
    assert main([*words, "--coco", "--npz", "--half"]) == 0, capsys.readouterr().err
    assert (out / "noise.overlay.mp4").stat().st_size > 5_000
    with np.load(out / "noise.npz") as arrays:
        assert arrays["masks"].any()
        # every pixel of a mask is of a thing
        assert np.array_equal(arrays["things"] > 0, arrays["masks"])
        pairs = np.unique(
            np.stack([arrays["things"], arrays["classes"]], axis=-1)[arrays["masks"]], axis=0
        )
    assert len(pairs) == len(np.unique(pairs[:, 0]))  # a thing is of one class
    coco = json.loads((out / "noise.coco.json").read_text())
    assert {(each["track_id"], each["category_id"]) for each in coco["annotations"]} == set(
        map(tuple, pairs.tolist())
    )


def test_nothing_is_looked_for_again(
    name: str, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"detect": 0, "embed": 0}
    for kind, method in ((GroundingDINO, "detect"), (SAM2, "embed")):
        original = getattr(kind, method)

        def counted(
            self: object, frames: Tensor, *rest: object, method: str = method, original=original
        ) -> object:  # type: ignore[no-untyped-def]
            counts[method] += len(frames)
            return original(self, frames, *rest)

        monkeypatch.setattr(kind, method, counted)
    predictor = VideoPredictor(name, options=PredictorOptions(fps=2.0, concepts="dog, guitar"))
    first = predictor.predict(film)
    before = dict(counts)
    assert before["detect"] == len(first.key_times) == before["embed"]
    lower = predictor.with_options(
        PredictorOptions(fps=2.0, concepts="dog, guitar", threshold=0.1, batch=1)
    )
    lower.predict(film)
    VideoPredictor(name, options=PredictorOptions(fps=2.0, concepts="dog, guitar")).predict(film)
    assert counts == before  # another threshold, other batches, another process
    again = predictor.with_options(PredictorOptions(fps=2.0, concepts="dog")).predict(film)
    # other words: they meet the picture within the network
    assert counts["detect"] == 2 * before["detect"]
    assert again.class_names == ("background", "dog")


def test_batches_and_what_is_kept_change_nothing(name: str) -> None:
    model = load_model(name)
    assert isinstance(model, Concepts)
    model = model.with_concepts("dog, guitar, siren")
    model._kept = KeptAnswers(None)
    heard = torch.rand(1, 2, 8, generator=torch.Generator().manual_seed(1))
    together = model.name_masks(FRAMES[None], heard)
    assert together.things is not None
    assert together.probability.shape == (1, 2, 16, 16)
    assert together.probability.std() > 0
    for place in range(2):
        alone = model.name_masks(FRAMES[None, place : place + 1], heard[:, place : place + 1])
        assert alone.things is not None
        torch.testing.assert_close(
            alone.probability[0, 0], together.probability[0, place], atol=1e-4, rtol=1e-3
        )
        assert torch.equal(alone.things[0].classes, together.things[place].classes)
    silent = model.name_masks(FRAMES[None], torch.zeros(1, 2, 8))
    assert silent.things is not None
    assert not silent.probability.any()
    assert [len(each.masks) for each in silent.things] == [0, 0]


def test_what_is_found_does_not_depend_on_what_is_heard(name: str) -> None:
    """Few concepts are always looked for together, so that a mask is that of the picture and a thing keeps it."""
    model = load_model(name)
    assert isinstance(model, Concepts)
    model = model.with_concepts("dog, guitar")
    dog, guitar = torch.zeros(1, 1, 8), torch.zeros(1, 1, 8)
    dog[..., 1], guitar[..., 3] = 0.8, 0.8
    first, second = (model.name_masks(FRAMES[None, :1], heard).things for heard in (dog, guitar))
    assert first is not None
    assert second is not None
    assert torch.equal(first[0].masks, second[0].masks)
    assert not torch.equal(first[0].numbers, second[0].numbers)


class _Tagger(nn.Module):
    """Hears twelve names."""

    names, dim, folder = tuple(f"thing {letter}" for letter in "abcdefghijkl"), 12, None
    front_end = ASTFrontEnd()

    def forward(self, features: Tensor) -> Tensor:
        return features


def test_of_many_concepts_those_that_are_audible_are_looked_for() -> None:
    asked: list[list[str]] = []
    detector = _Detector(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), torch.tensor([[[0.0, 0.9]]]))
    answer = detector.detect

    def detect(frames: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        asked.append(prompts)
        return answer(frames, prompts)

    detector.detect = detect  # type: ignore[method-assign]
    model = Concepts(_Tagger(), BoxSegmenter(detector, _MaskModel())).eval()  # type: ignore[arg-type]
    heard = torch.zeros(1, 3, 12)
    heard[0, 0, 9], heard[0, 0, 2], heard[0, 2, 9], heard[0, 2, 2] = 0.9, 0.5, 0.5, 0.9
    found = model.name_masks(torch.zeros(1, 3, 3, 64, 64), heard)
    assert asked == [["thing c", "thing j"]]  # both frames at once, none for the silent one
    assert found.things is not None
    # the second text, by its own number
    assert [each.classes.tolist() for each in found.things] == [[10], [], [10]]
    mask = torch.full((16, 16), 1.0).sigmoid()
    torch.testing.assert_close(found.probability[0, 0], 0.9 * mask)
    torch.testing.assert_close(found.probability[0, 2], 0.5 * mask)
    assert not found.probability[0, 1].any()


def test_the_evaluator_scores_it(name: str) -> None:
    from ecmvae.data.synthetic import SyntheticAVS

    model = load_model(name)
    report = evaluate(
        model, SyntheticAVS("s4", length=2, size=64), EvaluateSettings(progress=False)
    )
    assert 0 <= report.scores["real"].per_clip.miou <= 1


def test_names_of_three_parts(hub_folders: dict[str, Path]) -> None:
    name = ConceptsName.parse("concepts:clap+grounding-dino+edgetam")
    assert name == ConceptsName(
        "clap",
        "clap",
        "grounding_dino",
        "grounding-dino-tiny",
        mask_model="edgetam",
        mask_weights="edgetam",
    )
    assert ConceptsName.parse(str(name)) == name
    odd = ConceptsName.parse("concepts:ast+owlv2=/a+b/sam2+sam2=hf://x/y@main")
    assert odd is not None
    assert odd.segmenter_parts == (("owlv2", "/a+b/sam2"), ("sam2", "hf://x/y@main"))
    plain = ConceptsName.parse("concepts:ast+clipseg=/a+sam2")
    assert plain is not None
    assert (plain.segmenter_weights, plain.mask_model) == ("/a+sam2", "")
    for wrong, complaint in (
        (
            "concepts:ast+owlv2",
            r"owlv2 only draws boxes: write 'concepts:ast\+owlv2'\+sam2, or \+edgetam",
        ),
        (
            "concepts:ast+dog+sam2",
            "unknown segmenter 'dog' of concepts: choose from clipseg, grounding_dino, owlv2",
        ),
        ("concepts:ast+owlv2+sam3", "unknown segmenter"),
    ):
        with pytest.raises(UserError, match=complaint):
            ConceptsName.parse(wrong)
    with pytest.raises(
        UserError, match="does not fit: it is a 'sam2_video', needed is edgetam or edgetam_video"
    ):
        EdgeTAM.from_weights(str(hub_folders["sam2"]))
    with pytest.raises(
        UserError, match="is not in the hub's cache: ecmvae fetch grounding-dino-tiny"
    ):
        GroundingDINO.from_weights()
