"""The mix: heard in the seconds that the table names and in no other, at the pitch and level that are said."""

import numpy as np
import pytest
from collage_fixture import TONES, make_sources

from ecmvae.data.collage.augment import VARIATIONS
from ecmvae.data.collage.scene import sample_activity, sample_scene
from ecmvae.data.collage.sound import mix_audio


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


def tone_level(samples, frequency, width=20):
    """Root mean square of what lies within `width` Hz of a frequency."""
    spectrum = np.abs(np.fft.rfft(samples)) / len(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / 16000)
    return np.sqrt(2 * np.sum(spectrum[np.abs(frequencies - frequency) < width] ** 2))


def drawn(sources, number, kind="ms3"):
    scene = sample_scene(np.random.default_rng(number), sources, kind, "train")
    return scene, sample_activity(np.random.default_rng(number), kind, len(scene.objects))


class TestPlain:
    def test_each_second_holds_the_tones_of_its_sounding_objects_only(self, sources):
        for number in range(15):
            scene, activity = drawn(sources, number)
            mix = mix_audio(scene, activity, np.random.default_rng(number), None, sources)
            assert mix.shape == (80000,)
            assert mix.dtype == np.float32
            for second in range(5):
                samples = mix[second * 16000 : (second + 1) * 16000]
                for thing, sounds in zip(scene.objects, activity[second], strict=True):
                    level = tone_level(samples, TONES[thing.category])
                    assert (0.06 < level < 0.11) if sounds else level < 0.01

    def test_silent_seconds_hold_faint_noise(self, sources):
        scene, _ = drawn(sources, 0)
        mix = mix_audio(
            scene, np.zeros((5, len(scene.objects)), bool), np.random.default_rng(0), None, sources
        )
        assert 20 * np.log10(np.sqrt(np.mean(mix**2)) / 0.1) == pytest.approx(-50, abs=0.2)

    def test_going_on_has_no_fade_and_stopping_has_one(self, sources):
        scene, _ = drawn(sources, 0)
        activity = np.zeros((5, len(scene.objects)), bool)
        activity[1:3, 0] = True
        mix = mix_audio(scene, activity, np.random.default_rng(1), None, sources)
        edges = {
            place: np.abs(mix[place : place + 16]).max() for place in (15984, 16000, 47984, 48000)
        }
        assert max(edges.values()) < 0.02
        assert np.abs(mix[31900:32100]).max() > 0.1

    def test_same_random_numbers_same_mix(self, sources):
        scene, activity = drawn(sources, 3)
        first, again, other = (
            mix_audio(scene, activity, np.random.default_rng(s), None, sources) for s in (1, 1, 2)
        )
        assert (first == again).all()
        assert not (first == other).all()


class TestAugmented:
    def test_pitch_gain_and_noise_stay_in_their_ranges_and_vary(self, sources):
        scene, _ = drawn(sources, 0, "s4")
        activity = np.zeros((5, len(scene.objects)), bool)
        activity[0:4, 0] = True
        frequencies, levels, noises = [], [], []
        for seed in range(60):
            mix = mix_audio(
                scene, activity, np.random.default_rng(seed), VARIATIONS["strong"], sources
            )
            spectrum = np.abs(np.fft.rfft(mix[:64000]))
            frequencies.append(np.argmax(spectrum) / 4)
            levels.append(tone_level(mix[:64000], frequencies[-1]))
            noises.append(np.sqrt(np.mean(mix[64000:] ** 2)))
        semitones = 12 * np.log2(np.array(frequencies) / TONES[scene.objects[0].category])
        assert np.abs(semitones).max() < 4.05
        assert semitones.std() == pytest.approx(8 / np.sqrt(12), rel=0.25)
        gains = 20 * np.log10(np.array(levels) / 0.1)
        assert gains.max() < 3.5
        assert gains.min() > -11.5  # -9 dB, and pauses
        assert gains.std() > 2
        decibels = 20 * np.log10(np.array(noises) / 0.1)
        assert decibels.max() < -9  # one second of brown noise varies about its level
        assert decibels.min() > -50.5
        assert decibels.std() > 5

    def test_loud_mixes_are_limited_not_clipped(self, sources, monkeypatch):
        scene, _ = drawn(sources, 0)
        loud = {
            thing.sound: sources.load_sound(thing.sound) * np.float32(8) for thing in scene.objects
        }
        monkeypatch.setattr(sources, "load_sound", loud.__getitem__)
        activity = np.ones((5, len(scene.objects)), bool)
        mix = mix_audio(scene, activity, np.random.default_rng(0), None, sources)
        assert np.abs(mix).max() == pytest.approx(0.98, abs=1e-6)
        assert (np.abs(mix) > 0.979).sum() < 100


def test_mild_variation_leaves_the_room_and_changes_the_pitch_by_two_semitones_at_most(sources):
    """A tone stays a tone: its energy lies within two semitones of where it was, and nothing follows its end."""
    scene = sample_scene(np.random.default_rng(3), sources, "s4")
    activity = np.zeros((5, len(scene.objects)), bool)
    activity[:, 0] = True
    tone = TONES[scene.objects[0].category]
    for seed in range(4):
        mix = mix_audio(scene, activity, np.random.default_rng(seed), VARIATIONS["mild"], sources)
        spectrum = np.abs(np.fft.rfft(mix)) ** 2
        heard = np.fft.rfftfreq(mix.size, 1 / 16_000)[spectrum.argmax()]
        assert abs(12 * np.log2(heard / tone)) < 2.05
