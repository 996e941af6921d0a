"""Maps of a frozen backbone, kept in memory and in a folder."""

import errno
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecmvae.config import Config, load_config
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.models import Segmenter, build_model
from ecmvae.models.checkpoint import load_model
from ecmvae.training.features import FeatureCache, FeatureStore
from ecmvae.training.monitor import read_history
from ecmvae.training.run import train
from ecmvae.visual.normalisation import Normalisation


class Named(SyntheticAVS):
    """Clips that can say their names, and must not be asked for their sound."""

    keep_frames = True

    def name(self, index: int) -> str:
        return f"shapes_{self.seed}_{index:05d}"

    def sound(self, index: int, epoch: int):
        raise AssertionError("features need no sound")


def test_kept_maps_are_the_backbones_to_half_precision(tiny) -> None:
    config: Config = tiny()
    model = build_model(config.model, image_size=32).eval()
    clips = SyntheticAVS("s4", length=5, size=32)
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
    cache = FeatureCache(build_model(tiny().model, image_size=32))
    clips = Named("s4", length=3, size=32)
    cache.fill(clips)
    assert clips.name(2) in cache


def test_a_second_fill_computes_nothing(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(tiny().model, image_size=32)
    cache, clips = FeatureCache(model), SyntheticAVS("s4", length=2, size=32)
    cache.fill(clips)
    monkeypatch.setattr(model.backbone, "forward", lambda _: pytest.fail("computed again"))
    cache.fill(clips)


def test_a_backbone_in_training_cannot_be_cached(tiny) -> None:
    with pytest.raises(ValueError, match="frozen"):
        FeatureCache(
            build_model(
                tiny(train__cache_features=False, model__visual__frozen=False).model, image_size=32
            )
        )


def test_an_unknown_clip_is_an_error(tiny) -> None:
    with pytest.raises(KeyError):
        FeatureCache(build_model(tiny().model, image_size=32)).lookup(["nobody"])


def _model(tiny, **overrides: object) -> Segmenter:
    torch.manual_seed(0)
    return build_model(tiny(**overrides).model, image_size=32).eval()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("features-*/*/*.safetensors"))


def test_a_folder_gives_other_runs_the_same_maps(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to the last bit to what memory keeps, wherever filling began, and computed once."""
    clips = SyntheticAVS("s4", length=6, size=32)
    names = [clips[i].name for i in range(6)]
    memory = FeatureCache(_model(tiny))
    memory.fill(clips)
    first = FeatureCache(_model(tiny), tmp_path)
    first.fill(clips, start=0.6)
    later = FeatureCache(model := _model(tiny), tmp_path)
    monkeypatch.setattr(model.backbone, "forward", lambda _: pytest.fail("computed again"))
    later.fill(clips)
    for cache in (first, later):
        for mine, theirs, halves in zip(
            cache.lookup(names), memory.lookup(names), cache.halves(names), strict=True
        ):
            assert torch.equal(mine, theirs)
            assert torch.equal(halves.float(), theirs)
    assert len(_files(tmp_path)) == 6


def test_what_maps_are_kept_by(tiny, tmp_path: Path) -> None:
    """The frames, not the name: the same picture is found under another name, another picture under none."""
    model = _model(tiny)
    clip = SyntheticAVS("s4", length=1, size=32)[0]
    padded = replace(clip, name="padded", valid=torch.arange(5) < 3)
    changed = replace(clip, name="changed", frames=clip.frames.clone())
    changed.frames[0, 0, 0, 0] ^= 1
    cache = FeatureCache(model, tmp_path)
    cache.fill([clip, replace(clip, name="again"), padded, changed])
    assert len(_files(tmp_path)) == 3
    assert torch.equal(cache.lookup(["again"])[0], cache.lookup([clip.name])[0])
    fresh = model.extract_features(ClipPreprocessor.of(model)(padded).frames.unsqueeze(0))
    torch.testing.assert_close(cache.lookup(["padded"])[0], fresh[0], rtol=2e-3, atol=2e-3)


def test_a_cache_of_other_weights_is_ignored_and_said(
    tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = SyntheticAVS("s4", length=2, size=32)
    FeatureCache(_model(tiny), tmp_path).fill(clips)
    assert not caplog.messages
    other = _model(tiny)
    with torch.no_grad():
        next(other.backbone.parameters()).mul_(1.001)
    cache = FeatureCache(other, tmp_path)
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "features of 1 other weights or sizes are ignored, those of this backbone are computed"
    ]
    cache.fill(clips)
    assert len(_files(tmp_path)) == 4
    folders = {FeatureStore(tmp_path, each).folder for each in (_model(tiny), other, _model(tiny))}
    assert len(folders) == 2
    other.normalisation = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert FeatureStore(tmp_path, other).folder not in folders


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other shape"])
def test_a_torn_file_is_computed_again(
    tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    clips = SyntheticAVS("s4", length=5, size=32)
    cache = FeatureCache(_model(tiny), tmp_path)
    cache.fill(clips)
    name = clips[2].name
    right = [each.clone() for each in cache.lookup([name])]
    content = {path: path.read_bytes() for path in _files(tmp_path)}
    later = FeatureCache(_model(tiny), tmp_path)
    later.fill(clips)
    for path, whole in content.items():
        if damage == "cut":
            path.write_bytes(whole[:-10])
        elif damage == "flipped":
            path.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
        elif damage == "gone":
            path.unlink()
        else:
            save_file(
                {str(k): torch.zeros(5, 3, 2, 2, dtype=torch.float16) for k in range(4)}, path
            )
    for mine, theirs in zip(later.lookup([name]), right, strict=True):
        assert torch.equal(mine, theirs)
    assert caplog.messages[0].endswith(".safetensors is damaged: these features are computed again")
    # those computed with it
    assert sum(path.read_bytes() == content[path] for path in _files(tmp_path)) == 4


def _fill(folder: Path, config: Config, start: float, barrier) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cache = FeatureCache(build_model(config.model, image_size=32).eval(), folder)
    barrier.wait()
    cache.fill(SyntheticAVS("s4", length=16, size=32), start=start)


def test_processes_fill_a_folder_together(tiny, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=_fill, args=(tmp_path, tiny(), start, barrier))
        for start in (0.0, 0.5)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
        assert each.exitcode == 0
    assert len(_files(tmp_path)) == 16
    assert not list(tmp_path.glob("**/*.part*"))
    clips, cache = SyntheticAVS("s4", length=16, size=32), FeatureCache(_model(tiny), tmp_path)
    cache.fill(clips)
    memory = FeatureCache(_model(tiny))
    memory.fill(clips)
    for index in (0, 7, 15):
        for mine, theirs in zip(
            cache.lookup([clips[index].name]), memory.lookup([clips[index].name]), strict=True
        ):
            assert torch.equal(mine, theirs)


def test_a_full_disk_is_one_line(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(_model(tiny), tmp_path)

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"\.safetensors cannot be written: No space left on device"):
        cache.fill(SyntheticAVS("s4", length=1, size=32))


def test_a_run_with_a_folder_is_the_run_without_one(tiny, tmp_path: Path) -> None:
    """And so is the next one, which finds the maps."""
    runs = [
        train(tiny(data__feature_cache=folder, train__epochs=1))
        for folder in (None, *[str(tmp_path / "kept")] * 2)
    ]
    histories = [read_history(run / "history.jsonl") for run in runs]
    assert histories[0] == histories[1] == histories[2]
    weights = [load_model(run / "best").state_dict() for run in runs]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])
        assert torch.equal(value, weights[2][key])


def test_a_folder_without_the_features_is_a_mistake(tiny, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.feature_cache is where train\.cache_features keeps"
    ):
        tiny(data__feature_cache=str(tmp_path), train__cache_features=False)


def test_regions_are_kept_instead_of_maps_where_all_that_sees_them_is_frozen(
    tmp_path: Path,
) -> None:
    layers = Path(__file__).parents[2] / "configs" / "layers"
    config = load_config(
        [layers / "agreement.yaml", layers / "regions.yaml"],
        {
            "model.visual.name": "efficientnet_lite0",
            "model.visual.frozen": True,
            "model.channels": 16,
            "data.image_size": 64,
        },
    )
    clips = SyntheticAVS("s4", length=2, size=64)
    model = build_model(config.model, image_size=64)
    maps = FeatureCache(model, tmp_path)
    maps.fill(clips)
    seen = ("neck", "decoder", "embed", "dropout", "far", "near", "trust")
    model.freeze([f"agreement.answer.{part}" for part in seen])
    regions = FeatureCache(model.train(), tmp_path)
    regions.fill(clips)
    assert len(list(tmp_path.glob("features-*"))) == 2
    names = [clip.name for clip in clips]
    assert maps.lookup(names)[3].shape == (2, 5, 320, 2, 2)
    assert [each.shape[2] for each in regions.lookup(names)] == [16, 16, 41, 1]
    fresh = FeatureCache(model)
    fresh.fill(clips)
    assert all(map(torch.equal, fresh.lookup(names), regions.lookup(names)))
