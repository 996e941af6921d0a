"""Painted frames and index maps against a slow painter that follows the definition pixel by pixel."""

import dataclasses

import numpy as np
import pytest
from collage_fixture import make_sources
from PIL import Image

from ecmvae.data.collage.render import render
from ecmvae.data.collage.scene import PlacedObject, Scene, sample_scene


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


def thing(image="square_0", **changes):
    plain = PlacedObject(
        category="square",
        image=image,
        sound="square_0",
        size=0.25,
        centre=(0.5, 0.5),
        velocity=(0.0, 0.0),
        flip=False,
        contrast=1.0,
        colour=(1.0, 1.0, 1.0),
    )
    return dataclasses.replace(plain, **changes)


def scene(*objects, **changes):
    plain = Scene(
        background="wall_0",
        crop=(0.0, 0.0, 1.0),
        background_flip=False,
        brightness=1.0,
        objects=objects,
    )
    return dataclasses.replace(plain, **changes)


def slow_coverage(placed, time, size, sources):
    """Alpha of one object in 0..1 on the whole canvas: the resized cut-out, pasted at whole pixels, mixed of four."""
    cut_out = sources.load_image(placed.image)
    height, width = cut_out.shape[:2]
    scale = placed.size * size / max(height, width)
    small = Image.fromarray(cut_out[..., 3]).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.BILINEAR
    )
    alpha = np.asarray(small, dtype=np.float64) / 255
    alpha = alpha[:, ::-1] if placed.flip else alpha
    x, y = (
        c * size + v * size * (time - 2.5) - s / 2
        for c, v, s in zip(placed.centre, placed.velocity, small.size, strict=True)
    )
    whole_x, whole_y = int(np.floor(x)), int(np.floor(y))
    canvas = np.zeros((3 * size, 3 * size))
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (x - whole_x if dx else 1 - x + whole_x) * (y - whole_y if dy else 1 - y + whole_y)
        top, left = size + whole_y + dy, size + whole_x + dx
        canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]] += weight * alpha
    return canvas[size : 2 * size, size : 2 * size]


class TestIndexMap:
    def test_equals_the_slow_painter(self, sources):
        """On drawn scenes: the last object that covers more than half of a pixel owns it."""
        for number in range(12):
            drawn = sample_scene(np.random.default_rng(number), sources, "ms3", "train")
            times = [0.5, 2.25, 4.5]
            _, objects = render(drawn, times, 96, sources)
            for time, index in zip(times, objects, strict=True):
                covers = [slow_coverage(placed, time, 96, sources) for placed in drawn.objects]
                expected = np.zeros((96, 96), np.uint8)
                for k, alpha in enumerate(covers, start=1):
                    expected[alpha > 0.5] = k
                certain = np.all([np.abs(alpha - 0.5) > 1e-4 for alpha in covers], axis=0)
                assert certain.mean() > 0.98
                assert (index == expected)[certain].all()

    def test_later_objects_hide_earlier_ones(self, sources):
        _, objects = render(scene(thing(), thing(image="disc_0")), [2.5], 64, sources)
        assert objects[0, 32, 32] == 2
        assert set(np.unique(objects)) == {0, 1, 2}

    def test_objects_may_leave_the_frame(self, sources):
        _, objects = render(
            scene(thing(centre=(0.0, 0.5)), thing(centre=(2.0, 2.0))), [2.5], 64, sources
        )
        assert (objects[0] == 1).sum() == 8 * 16
        assert not (objects[0] == 2).any()


class TestFrames:
    def test_opaque_pixels_are_the_cut_outs_and_others_the_backgrounds(self, sources):
        empty, _ = render(scene(), [2.5], 64, sources)
        frames, objects = render(scene(thing()), [2.5], 64, sources)
        assert (objects[0] == 1).sum() == 16 * 16
        inside, outside = frames[0][26:38, 26:38], np.ones((64, 64), bool)
        outside[23:41, 23:41] = False
        assert (inside == sources.load_image("square_0")[45, 45, :3]).all()
        assert (frames[0][outside] == empty[0][outside]).all()

    def test_background_settings(self, sources):
        plain, _ = render(scene(), [0.0], 150, sources)
        photo = sources.load_background("wall_0")
        assert (plain[0] == photo[:, :150]).all()
        mirrored, _ = render(
            scene(background_flip=True, brightness=0.5, crop=(1.0, 0.0, 1.0)), [0.0], 150, sources
        )
        assert np.abs(mirrored[0].astype(int) - photo[:, 50:][:, ::-1] / 2).max() <= 0.5

    def test_contrast_and_colour(self, sources):
        colour = sources.load_image("square_0")[45, 45, :3].astype(float)
        frames, _ = render(scene(thing(contrast=0.8, colour=(1.1, 0.9, 1.0))), [2.5], 64, sources)
        expected = ((colour - 127.5) * 0.8 + 127.5) * (1.1, 0.9, 1.0)
        assert frames[0, 32, 32] == pytest.approx(expected, abs=0.51)

    def test_flip(self, sources):
        straight, mirrored = (
            render(scene(thing("wedge_0", flip=flip, size=0.5)), [2.5], 64, sources)[1]
            for flip in (False, True)
        )
        assert (straight[0] == mirrored[0][:, ::-1]).mean() > 0.99

    def test_motion_is_even_and_without_jumps(self, sources):
        """The centre of mass of a moving disc follows the line to a small part of a pixel."""
        moving = scene(thing("disc_0", velocity=(0.02, -0.01)))
        times = np.arange(0, 5, 0.125)
        frames, _ = render(moving, times.tolist(), 64, sources)
        still, _ = render(scene(), [0.0], 64, sources)
        change = np.abs(frames.astype(float) - still.astype(float)).sum(axis=3)
        change = (change > 0) * 1.0
        x = (change * np.arange(64)).sum(axis=(1, 2)) / change.sum(axis=(1, 2))
        slope, start = np.polyfit(times, x, 1)
        assert slope == pytest.approx(0.02 * 64, rel=0.05)
        assert np.abs(x - slope * times - start).max() < 0.6

    def test_same_scene_same_pixels(self, sources):
        drawn = sample_scene(np.random.default_rng(3), sources, "ms3", "train")
        first, again = (render(drawn, [0.5, 1.5], 64, sources) for _ in range(2))
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        later, _ = render(drawn, [1.5], 64, sources)
        assert (later[0] == first[0][1]).all()
