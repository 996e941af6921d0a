"""Make docs/assets/strip.png, the picture on the README's first screen, with our own predictor.

Public-domain drawings that no model of ours was trained on are laid over a CC0 photo; a CC0 recording sounds and stops.
The demo's model looks and listens.

    python tools/readme_strip.py --clipart FOLDER --sources FOLDER --checkpoint runs/demo

--clipart is Debian's openclipart-png, unpacked (dpkg -x); --sources is the prepared cache of AVS-Collage. What is used
is credited in docs/assets/SOURCES.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw

from ecmvae.data.audio import read_wave
from ecmvae.data.collage import CollageSources
from ecmvae.data.video import write_video
from ecmvae.inference.command import predict

SIZE, FPS, RATE = 288, 24, 16000
SHEEP, TIGER = "mammals/sheep-md-v0.1.png", "mammals/big_cats/color_tiger_susan_park_01.png"
BACKGROUND = "gcompris_parthenon"
HEARD = ("ovos_sheep", "ovos_sheep", None, None, "ovos_sheep", "ovos_sheep")
"""What sounds in each second."""
LABELS = {"ovos_sheep": "a sheep bleats", None: "silence"}


def main() -> None:
    """Compose the clip, cut out what sounds, and save six frames side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipart", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--checkpoint", default="runs/demo")
    parser.add_argument("--out", type=Path, default=Path("docs/assets/strip.png"))
    args = parser.parse_args()
    sources = CollageSources(args.sources)
    files = {item.id: args.sources / item.file for item in sources.items}
    with TemporaryDirectory() as folder:
        video, overlay = Path(folder) / "clip.mp4", Path(folder) / "overlay.mp4"
        write_video(video, _frames(args.clipart, files[BACKGROUND]), FPS, _sound(files), RATE)
        predict([str(video)], out=overlay, checkpoint=args.checkpoint)
        _strip(overlay).save(args.out, optimize=True)


def _frames(clipart: Path, background: Path) -> list[np.ndarray]:
    photo = Image.open(background).convert("RGB")
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    photo = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    folder = clipart / "usr" / "share" / "openclipart" / "png" / "animals"
    objects = [(_cut_out(folder / SHEEP, 125), 150, 135), (_cut_out(folder / TIGER, 150), 25, 110)]
    frames = []
    for index in range(len(HEARD) * FPS):
        frame = photo.copy()
        for number, (drawing, x, y) in enumerate(objects):
            at = round(x + 6 * np.sin(index / FPS + number)), round(y + 3 * np.cos(index / 20 + number))
            frame.paste(drawing, at, drawing)
        frames.append(np.asarray(frame))
    return frames


def _cut_out(file: Path, height: int) -> Image.Image:
    drawing = Image.open(file).convert("RGBA")
    drawing = drawing.crop(drawing.getchannel("A").getbbox())
    return drawing.resize((round(drawing.width * height / drawing.height), height), Image.Resampling.LANCZOS)


def _sound(files: dict[str, Path]) -> np.ndarray:
    fade = np.minimum(1, np.minimum(np.arange(RATE), np.arange(RATE)[::-1]) / 400)
    seconds = []
    for second, name in enumerate(HEARD):
        if name is None:
            seconds.append(np.zeros(RATE))
            continue
        recording = read_wave(files[name])[0].numpy()
        looped = np.tile(recording, 1 + len(HEARD) * RATE // len(recording))[second * RATE : (second + 1) * RATE]
        seconds.append(fade * looped * 0.12 / max(1e-3, float(np.sqrt((looped**2).mean()))))
    return np.concatenate(seconds).clip(-1, 1).astype(np.float32)


def _strip(overlay: Path) -> Image.Image:
    """The middle frame of every second, with what is heard below it."""
    from ecmvae.data.video import read_clip

    frames = read_clip(overlay).frames
    strip = Image.new("RGB", (len(HEARD) * (SIZE + 4) - 4, SIZE + 26), "white")
    draw = ImageDraw.Draw(strip)
    for second, name in enumerate(HEARD):
        frame = Image.fromarray(np.asarray(frames[second * FPS + FPS // 2])).crop((0, 0, SIZE, SIZE))
        strip.paste(frame, (second * (SIZE + 4), 0))
        draw.text(
            (second * (SIZE + 4) + 4, SIZE + 6), f"{second}-{second + 1} s: {LABELS[name]}", fill="black", font_size=15
        )
    return strip


if __name__ == "__main__":
    main()
