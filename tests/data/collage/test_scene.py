"""What scenes are drawn: classes, pools, places, and who sounds how often."""

import numpy as np
import pytest
from collage_fixture import NEVER_HELD_OUT, make_sources

from ecmvae.data.collage.items import write_index
from ecmvae.data.collage.scene import (
    MAX_SPEED,
    SPLITS,
    sample_activity,
    sample_recordings,
    sample_scene,
)
from ecmvae.data.collage.sources import CollageSources
from ecmvae.errors import UserError


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


def scenes(sources, kind, split, count=100):
    return [sample_scene(np.random.default_rng([7, i]), sources, kind, split) for i in range(count)]


class TestScene:
    @pytest.mark.parametrize("split", SPLITS)
    def test_pools_of_every_split(self, sources, split):
        """Pictures, recordings and backgrounds come from the pool that the split's name says, and from no other."""
        new_image, new_sound = (
            split in ("test_unseen_image", "test_unseen"),
            split in ("test_unseen_sound", "test_unseen"),
        )
        for scene in scenes(sources, "ms3", split):
            assert scene.background in sources.backgrounds(split)
            for thing in scene.objects:
                assert thing.image in sources.images(thing.category, new_image)
                assert thing.sound in sources.sounds(thing.category, new_sound)
                assert not (new_image or new_sound) or thing.category != NEVER_HELD_OUT

    def test_splits_share_no_background(self, sources):
        used = {
            split: {scene.background for scene in scenes(sources, "s4", split)}
            for split in ("train", "val", "test_seen")
        }
        assert not used["train"] & used["val"]
        assert not used["train"] & used["test_seen"]
        assert not used["val"] & used["test_seen"]

    def test_numbers_of_objects_and_classes(self, sources):
        counts = [len(scene.objects) for scene in scenes(sources, "s4", "train", 400)]
        assert set(counts) == {2, 3}
        assert 0.18 < counts.count(3) / 400 < 0.32
        for scene in scenes(sources, "ms3", "train"):
            assert len({thing.category for thing in scene.objects}) == 3

    def test_places(self, sources):
        """Everything is inside the frame in the middle of the clip, moves slowly, and leaves its neighbours visible."""
        for scene in scenes(sources, "ms3", "train"):
            columns = sorted(thing.centre[0] for thing in scene.objects)
            assert np.diff(columns).min() > 0.1
            for thing in scene.objects:
                height, width = sources.load_image(thing.image).shape[:2]
                half = thing.size / max(height, width) / 2
                for centre, side in zip(thing.centre, (width, height), strict=True):
                    assert half * side - 1e-9 <= centre <= 1 - half * side + 1e-9
                assert 0.2 < thing.size <= 0.55 * 0.85
                assert np.abs(thing.velocity).max() <= MAX_SPEED

    def test_same_random_numbers_same_scene(self, sources):
        again = CollageSources(sources.root)
        assert scenes(sources, "ms3", "train", 20) == scenes(again, "ms3", "train", 20)
        assert len(set(scenes(sources, "ms3", "train", 20))) == 20

    def test_mistakes_are_named(self, sources):
        with pytest.raises(UserError, match="no split 'test'"):
            sample_scene(np.random.default_rng(0), sources, "s4", "test")

    def test_too_few_classes(self, tmp_path):
        items = [
            item for item in make_sources(tmp_path).items if item.category in ("", "disc", "ring")
        ]
        write_index(tmp_path, items)
        sources = CollageSources(tmp_path)
        with pytest.raises(UserError, match="needs 3 classes"):
            sample_scene(np.random.default_rng(0), sources, "ms3", "train")

    def test_recordings_drawn_anew_change_nothing_else(self, sources):
        for scene in scenes(sources, "ms3", "train", 20):
            other = sample_recordings(np.random.default_rng(5), scene, sources, "train")
            assert [(o.category, o.image, o.centre) for o in other.objects] == [
                (o.category, o.image, o.centre) for o in scene.objects
            ]
            assert all(o.sound in sources.sounds(o.category) for o in other.objects)


class TestActivity:
    def test_s4_is_one_object_throughout(self):
        drawn = [sample_activity(np.random.default_rng(i), "s4", 3) for i in range(300)]
        assert all((active == active[0]).all() and active[0].sum() == 1 for active in drawn)
        assert np.mean([active[0] for active in drawn], axis=0) == pytest.approx(
            [1 / 3] * 3, abs=0.1
        )

    def test_ms3_counts(self):
        """About a tenth of the seconds is silent, under a tenth has all three, and the rest one more than two."""
        drawn = np.stack([sample_activity(np.random.default_rng(i), "ms3", 3) for i in range(2000)])
        counts = np.bincount(drawn.sum(axis=2).ravel(), minlength=4) / drawn[..., 0].size
        assert counts == pytest.approx([0.10, 0.50, 0.33, 0.07], abs=0.02)
        assert drawn.mean(axis=(0, 1)) == pytest.approx([drawn.mean()] * 3, abs=0.02)

    def test_ms3_changes_and_is_never_silent_throughout(self):
        drawn = [sample_activity(np.random.default_rng(i), "ms3", 3) for i in range(2000)]
        assert all(active.any() and not (active == active[0]).all() for active in drawn)

    def test_any_length_and_number(self):
        assert sample_activity(np.random.default_rng(0), "ms3", 2, seconds=9).shape == (9, 2)
        assert sample_activity(np.random.default_rng(0), "ms3", 3, seconds=1).any()
