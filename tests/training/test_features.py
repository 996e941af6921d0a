import pytest
import torch

from ecmvae.config import Config
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.models import build_model
from ecmvae.training.features import FeatureCache


class Named(SyntheticAVS):
    """Clips that can say their names, and must not be asked for their sound."""

    keep_frames = True

    def name(self, index: int) -> str:
        return f"shapes_{self.seed}_{index:05d}"

    def sound(self, index: int, epoch: int):
        raise AssertionError("features need no sound")


def test_kept_maps_are_the_backbones_to_half_precision(tiny) -> None:
    config: Config = tiny()
    model = build_model(config.model, image_size=64).eval()
    clips = SyntheticAVS("s4", length=5, size=64)
    prepare, cache = ClipPreprocessor.of(model), FeatureCache(model)
    cache.fill(clips)
    assert len(cache) == 5
    order = [3, 0, 4]
    kept = cache.lookup([clips[i].name for i in order])
    fresh = model.extract_features(torch.stack([prepare(clips[i]).frames for i in order]))
    for mine, theirs in zip(kept, fresh, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-3)


def test_scenes_are_drawn_without_their_sound(tiny) -> None:
    cache = FeatureCache(build_model(tiny().model, image_size=64))
    clips = Named("s4", length=3, size=64)
    cache.fill(clips)
    assert clips.name(2) in cache


def test_a_second_fill_computes_nothing(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(tiny().model, image_size=64)
    cache, clips = FeatureCache(model), SyntheticAVS("s4", length=2, size=64)
    cache.fill(clips)
    monkeypatch.setattr(model.backbone, "forward", lambda _: pytest.fail("computed again"))
    cache.fill(clips)


def test_a_backbone_in_training_cannot_be_cached(tiny) -> None:
    with pytest.raises(ValueError, match="frozen"):
        FeatureCache(build_model(tiny(train__cache_features=False, model__visual__frozen=False).model, image_size=64))


def test_an_unknown_clip_is_an_error(tiny) -> None:
    with pytest.raises(KeyError):
        FeatureCache(build_model(tiny().model, image_size=64)).lookup(["nobody"])
