"""Render a scene of AVS-Collage: frames, and an index map of the object that each pixel shows.

Each cut-out is resized once per clip and then moved by fractions of a pixel, so that motion is smooth at any frame rate
and 120 frames cost little more than five.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

from ecmvae.data.collage.scene import PlacedObject, Scene
from ecmvae.data.collage.sources import CollageSources


def render(
    scene: Scene, times: Sequence[float], size: int, sources: CollageSources
) -> tuple[UInt8[np.ndarray, "t h w 3"], UInt8[np.ndarray, "t h w"]]:
    """Render the scene at the given times, in seconds from the start of the clip, `size` pixels wide and high.

    Returns:
        Frames (T, H, W, 3), and index maps (T, H, W): 0 for the background, k where object k covers more than half of
        the pixel and no later object does.
    """
    painted = list(stream(scene, times, size, sources))
    return np.stack([frame for frame, _ in painted]), np.stack([index for _, index in painted])


def stream(
    scene: Scene, times: Sequence[float], size: int, sources: CollageSources
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]]:
    """`render`, one frame at a time."""
    canvas = _background(scene, size, sources)
    sprites = [_Sprite.of(thing, size, sources) for thing in scene.objects]
    for time in times:
        frame = canvas.copy()
        index = np.zeros((size, size), dtype=np.uint8)
        for number, sprite in enumerate(sprites, start=1):
            sprite.paint(frame, index, number, time - scene.seconds / 2)
        painted = (frame + np.float32(0.5)).astype(np.uint8)
        if scene.blur:
            painted = np.asarray(
                Image.fromarray(painted).filter(ImageFilter.GaussianBlur(scene.blur * size))
            )
        yield painted, index


def _background(scene: Scene, size: int, sources: CollageSources) -> Float32[np.ndarray, "h w 3"]:
    photo = sources.load_background(scene.background)
    height, width = photo.shape[:2]
    left, top, fraction = scene.crop
    side = fraction * min(height, width)
    corner = left * (width - side), top * (height - side)
    box = (corner[0], corner[1], corner[0] + side, corner[1] + side)
    square = Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR, box=box)
    canvas = np.asarray(square, dtype=np.float32) * np.float32(scene.brightness)
    if scene.background_flip:
        canvas = canvas[:, ::-1]
    return np.ascontiguousarray(np.minimum(canvas, np.float32(255)))


@dataclass(frozen=True)
class _Sprite:
    """A cut-out at its final size, with a transparent border of one pixel.

    Attributes:
        premultiplied: (h, w, 4) red, green and blue in 0..255 times alpha; alpha in 0..1.
        corner: (x, y) of its upper left corner at mid-clip, in pixels.
        velocity: (x, y) in pixels per second.
    """

    premultiplied: Float32[np.ndarray, "h w 4"]
    corner: tuple[float, float]
    velocity: tuple[float, float]

    @classmethod
    def of(cls, thing: PlacedObject, size: int, sources: CollageSources) -> _Sprite:
        cut_out = sources.load_image(thing.image)
        height, width = cut_out.shape[:2]
        scale = thing.size * size / max(height, width)
        shape = max(1, round(width * scale)), max(1, round(height * scale))
        # Pillow weighs by alpha (RGBa) when it is told that colours are premultiplied: no dark fringes.
        small = Image.fromarray(cut_out).convert("RGBa").resize(shape, Image.Resampling.BILINEAR)
        pixels = np.asarray(small, dtype=np.float32)
        alpha = pixels[..., 3:] / np.float32(255)
        mean = np.float32(127.5) * alpha
        colour = (pixels[..., :3] - mean) * np.float32(thing.contrast) + mean
        colour = np.clip(colour * np.array(thing.colour, dtype=np.float32), 0, alpha * 255)
        sprite = np.concatenate([colour, alpha], axis=2)
        if thing.flip:
            sprite = sprite[:, ::-1]
        sprite = np.pad(sprite, ((1, 1), (1, 1), (0, 0)))
        corner = tuple(
            c * size - side / 2 for c, side in zip(thing.centre, sprite.shape[1::-1], strict=True)
        )
        return cls(
            sprite, (corner[0], corner[1]), (thing.velocity[0] * size, thing.velocity[1] * size)
        )

    def paint(
        self,
        frame: Float32[np.ndarray, "h w 3"],
        index: UInt8[np.ndarray, "h w"],
        number: int,
        time: float,
    ) -> None:
        """Draw the sprite over `frame` at `time` seconds after mid-clip, and mark its pixels in `index`."""
        (x, y), (size, _) = (
            (c + v * time for c, v in zip(self.corner, self.velocity, strict=True)),
            index.shape,
        )
        column, row = int(np.floor(x)), int(np.floor(y))
        moved = _shift(self.premultiplied, x - column, y - row)
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + moved.shape[0], size), min(column + moved.shape[1], size)
        if bottom <= top or right <= left:
            return
        seen = moved[top - row : bottom - row, left - column : right - column]
        alpha = seen[..., 3]
        patch = frame[top:bottom, left:right]
        patch *= 1 - alpha[..., None]
        patch += seen[..., :3]
        index[top:bottom, left:right][alpha > 0.5] = number


def _shift(
    sprite: Float32[np.ndarray, "h w 4"], x: float, y: float
) -> Float32[np.ndarray, "i j 4"]:
    """Shift a picture with a transparent border right and down by a fraction of a pixel, by bilinear interpolation."""
    fx, fy = np.float32(x), np.float32(y)
    across = sprite * (1 - fx)
    across[:, 1:] += sprite[:, :-1] * fx
    down = across * (1 - fy)
    down[1:] += across[:-1] * fy
    return down
