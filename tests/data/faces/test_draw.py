"""Drawn faces: the same arguments give the same pixels, and a factor changes its own region only."""

from dataclasses import replace

import numpy as np
import pytest

from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.look import FACTORS, FLAGS, Look, Variation, random_look, random_variation

PLAIN = Look()
SIZE = 96


def changed(before, after):
    """Rows and columns, as shares of the picture's side, in which two pictures differ: top, bottom, left, right."""
    differs = (draw_face(before, size=SIZE) != draw_face(after, size=SIZE)).any(-1)
    rows, columns = np.nonzero(differs.any(1))[0], np.nonzero(differs.any(0))[0]
    return rows[0] / SIZE, (rows[-1] + 1) / SIZE, columns[0] / SIZE, (columns[-1] + 1) / SIZE


def test_same_arguments_same_pixels():
    for seed in range(5):
        look, variation = (
            random_look(np.random.default_rng(seed)),
            random_variation(np.random.default_rng(seed)),
        )
        assert np.array_equal(draw_face(look, variation), draw_face(look, variation))


@pytest.mark.parametrize(
    ("change", "region"),
    [
        ({"smile": 1.0}, (0.5, 0.75, 0.25, 0.75)),  # mouth and cheeks
        ({"mouth_open": True}, (0.55, 0.75, 0.35, 0.65)),
        ({"mustache": True}, (0.55, 0.65, 0.35, 0.65)),
        ({"eyes": "Surprised"}, (0.32, 0.55, 0.3, 0.7)),
        ({"eyes": "Wink"}, (0.38, 0.55, 0.5, 0.7)),  # the picture's right eye
        ({"accessories": "Round"}, (0.35, 0.55, 0.25, 0.75)),
        ({"accessories": "Sunglasses"}, (0.35, 0.55, 0.25, 0.75)),
        ({"hat": True}, (0.0, 0.42, 0.2, 0.8)),
        ({"hair": "NoHair"}, (0.1, 0.5, 0.2, 0.8)),
        ({"hair": "LongHairStraight"}, (0.1, 0.95, 0.15, 0.85)),
        ({"top": "Hoodie"}, (0.68, 1.0, 0.1, 0.9)),
        ({"top": "Overall"}, (0.7, 1.0, 0.1, 0.9)),
        ({"clothes_color": "Red"}, (0.7, 1.0, 0.1, 0.9)),
    ],
)
def test_a_factor_changes_its_own_region_only(change, region):
    top, bottom, left, right = changed(PLAIN, replace(PLAIN, **change))
    assert top >= region[0]
    assert bottom <= region[1]
    assert left >= region[2]
    assert right <= region[3]


@pytest.mark.parametrize(
    "factor", ["Skin", "Hair", "Hair_Color", "Top", "Clothes_Color", "Accessories", "Eyes"]
)
def test_every_word_is_a_picture_of_its_own(factor):
    pictures = [draw_face(replace(PLAIN, **{factor.lower(): word})) for word in FACTORS[factor]]
    for number, picture in enumerate(pictures):
        assert not any(np.array_equal(picture, other) for other in pictures[:number])


def test_skin_and_hair_have_the_colour_that_they_are_asked_for():
    from ecmvae.data.faces.palette import HAIR, SKIN

    for word, color in SKIN.items():
        cheek = draw_face(replace(PLAIN, skin=word), size=128)[75, 45]
        assert abs(cheek.astype(int) - color).max() <= 8  # the edges are drawn smoothly
    for word, color in HAIR.items():
        above = draw_face(replace(PLAIN, hair_color=word), size=128)[33, 64]
        assert abs(above.astype(int) - color).max() <= 8


def test_corners_of_the_mouth_rise_with_the_smile():
    # The lips are the reddest pixels of the lower face: mean height at the mouth's sides minus that in its middle.
    def lift(smile):
        face = draw_face(Look(smile=smile), size=128).astype(int)[75:98]
        redness = (face[..., 0] - face[..., 1] - face[..., 2] // 2).clip(10) - 10
        rows = np.arange(len(face))[:, None]

        def height(columns):
            return (redness[:, columns] * rows).sum() / redness[:, columns].sum()

        return height(slice(60, 68)) - (height(slice(56, 60)) + height(slice(68, 72))) / 2

    lifts = [lift(smile) for smile in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert lifts == sorted(lifts)
    assert lifts[0] < -1 < 1 < lifts[-1]


def test_a_turned_head_is_the_mirror_image_of_one_turned_the_other_way():
    look = Look(hair="LongHairBun", top="ShirtVNeck", accessories="Round")
    left, right = (draw_face(replace(look, turn=turn)).astype(int) for turn in (-1.0, 1.0))
    # all but the nose, which is drawn on one side, and the lights in the eyes
    assert np.abs(left[:, ::-1] - right).mean() < 0.3 * np.abs(left - right).mean()


def test_variation_moves_the_picture():
    def middle_of(variation):
        dark = draw_face(Look(hair="NoHair"), variation, 128).sum(-1) < 250
        return np.argwhere(dark).mean(0) / 128

    plain = middle_of(Variation())
    moved = middle_of(Variation(shift=(0.1, -0.05)))
    np.testing.assert_allclose(moved - plain, [-0.05, 0.1], atol=0.01)
    left, right = (draw_face(PLAIN, Variation(light=light)).mean((0, 2)) for light in (-0.5, 0.5))
    assert (left[:8] > right[:8]).all()
    assert (left[-8:] < right[-8:]).all()


def test_frequencies_of_random_looks():
    generator = np.random.default_rng(0)
    looks = [random_look(generator) for _ in range(1500)]
    for factor, table in FACTORS.items():
        words = [look.words[factor] for look in looks]
        for word, share in table.items():
            assert words.count(word) / 1500 == pytest.approx(
                share, abs=4 * (share * (1 - share) / 1500) ** 0.5
            )
    for flag, share in FLAGS.items():
        assert sum(look.flags[flag] for look in looks) / 1500 == pytest.approx(share, abs=0.05)
    smiling = sum(look.flags["Smiling"] for look in looks) / 1500
    assert smiling == pytest.approx(FACTORS["Mouth"]["Smile"] + FACTORS["Mouth"]["Grin"], abs=0.05)


@pytest.mark.parametrize("size", [16, 100, 200])
def test_sizes(size):
    face = draw_face(PLAIN, size=size)
    assert face.shape == (size, size, 3)
    assert face.dtype == np.uint8
    middle = draw_face(PLAIN, size=240)[60:180, 60:180].mean((0, 1))
    quarter = size // 4
    np.testing.assert_allclose(
        face[quarter : size - quarter, quarter : size - quarter].mean((0, 1)), middle, atol=12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Look(hair="Mohawk"), "Hair 'Mohawk' is not known: choose from NoHair"),
        (lambda: Look(smile=1.5), "smile must be from -1 to 1"),
        (lambda: draw_face(PLAIN, size=4), "at least 8"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
