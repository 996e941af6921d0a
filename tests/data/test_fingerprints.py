"""Near-duplicates are found, unrelated pictures are not."""

import io

import numpy as np
import pytest
from PIL import Image

from ecmvae.data.fingerprints import fingerprint, near_duplicates
from ecmvae.data.miniature import ShapeScenes


def test_fingerprints_of_unrelated_pictures_are_far_apart():
    pictures = [ShapeScenes("s4", 64).scene(k).pictures[0] for k in range(12)]
    prints = [fingerprint(picture) for picture in pictures]
    assert max(float(a @ b) for i, a in enumerate(prints) for b in prints[:i]) < 0.7
    assert fingerprint(np.full((50, 50, 3), 7, np.uint8)) is None
    assert near_duplicates([]) == []
    same = [("train", "a", prints[0]), ("train", "b", prints[0]), ("test", "c", prints[0])]
    assert near_duplicates(same) == [
        (("train", "a"), ("test", "c")),
        (("train", "b"), ("test", "c")),
    ]


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


CHANGES = {
    "smaller": lambda image: image.resize((60, 60)),
    "wider": lambda image: image.resize((200, 120)),
    "recompressed": jpeg,
    "darker": lambda image: image.point(lambda v: int(v * 0.6)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change):
    picture = ShapeScenes("s4", 128).scene(2).pictures[0]
    copy = np.asarray(CHANGES[change](Image.fromarray(picture)).convert("RGB"))
    prints = [("train", "a", fingerprint(picture)), ("test", "b", fingerprint(copy))]
    assert near_duplicates(prints) == [(("train", "a"), ("test", "b"))]
