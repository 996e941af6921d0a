"""Make docs/assets/strip.webp, the moving picture on the README's first screen, with our own predictor.

Side by side: the video, its mask and the mask's uncertainty; below them the sound, with a cursor. Rendered at twice the
size it is shown at. Run it again when there is a better model:

    python tools/readme_strip.py --checkpoint runs/demo

The clip is made by tools/example_clip.py; docs/assets/SOURCES.md credits its sources.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.video import read_clip
from ecmvae.files import replacing
from ecmvae.prediction import render
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import FrameResult

EVERY = 2  # frames of the video for one of the strip
MARGIN, GAP, LABEL, SOUND = 24, 20, 44, 132  # pixels
INK, GREY, CURSOR = (32, 36, 44), (112, 118, 128), (255, 255, 255)
LABELS = ("video", "what sounds: the mask", "how unsure: entropy of the mask")
HEARD = ((0.0, "a cow moos"), (0.5, "a sheep bleats"))  # what sounds from which part of the clip on
QUIETEST, LOUDEST = -4.0, 2.0  # of the log-mel picture


def main() -> None:
    """Predict and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", help="model folder, run or name; by default the packaged model"
    )
    parser.add_argument("--clip", type=Path, default=Path("docs/assets/example.mp4"))
    parser.add_argument("--out", type=Path, default=Path("docs/assets/strip.webp"))
    parser.add_argument(
        "--samples", type=int, default=8, help="latent samples behind mask and uncertainty"
    )
    parser.add_argument("--quality", type=int, default=35, help="of the WebP file, 0 to 100")
    parser.add_argument(
        "--frames", type=Path, help="also keep the frames as PNG files in this folder, to look at"
    )
    args = parser.parse_args()
    result = VideoPredictor(args.checkpoint, "cpu", PredictorOptions(samples=args.samples)).predict(
        args.clip
    )
    clip = read_clip(args.clip)
    answers = list(result)[::EVERY]
    pictures = list(strip(clip.frames[::EVERY], answers, clip.waveform))
    if args.frames:
        args.frames.mkdir(parents=True, exist_ok=True)
        for answer, picture in zip(answers, pictures, strict=True):
            picture.save(args.frames / f"{answer.index:03d}.png")
    pause = round(1000 * float(result.timestamps[EVERY] - result.timestamps[0]))
    with replacing(args.out) as part:
        options = {"duration": pause, "loop": 0, "quality": args.quality, "method": 6}
        pictures[0].save(part, "WEBP", save_all=True, append_images=pictures[1:], **options)
    print(
        f"{args.out}: {len(pictures)} frames of {pictures[0].size}, {args.out.stat().st_size / 1e6:.2f} MB"
    )


def strip(
    frames: np.ndarray, answers: list[FrameResult], waveform: np.ndarray
) -> Iterator[Image.Image]:
    """The strip's frames, one for each answer."""
    side_y, side_x = frames.shape[1:3]
    width = 2 * MARGIN + 3 * side_x + 2 * GAP
    top, sound_top = MARGIN + LABEL, MARGIN + 2 * LABEL + side_y + GAP
    ground = Image.new("RGB", (width, sound_top + SOUND + LABEL + MARGIN // 2), "white")
    draw = ImageDraw.Draw(ground)
    columns = [MARGIN + number * (side_x + GAP) for number in range(3)]
    for x, label in zip(columns, LABELS, strict=True):
        draw.text((x, MARGIN), label, fill=INK, font_size=27)
    draw.text(
        (MARGIN, sound_top - LABEL),
        "sound: what the model hears, low to high",
        fill=INK,
        font_size=27,
    )
    span = width - 2 * MARGIN
    ground.paste(spectrogram(waveform, (span, SOUND)), (MARGIN, sound_top))
    for start, words in HEARD:
        draw.text((MARGIN + start * span, sound_top + SOUND + 8), words, fill=GREY, font_size=24)
    seconds = len(waveform) / SAMPLE_RATE
    for frame, answer in zip(frames, answers, strict=True):
        picture = ground.copy()
        panels = (
            frame,
            render.overlay(frame, answer.probability, mask=answer.mask),
            render.overlay(frame // 2, answer.uncertainty, mask=answer.mask, style="heatmap"),
        )
        for x, panel in zip(columns, panels, strict=True):
            picture.paste(Image.fromarray(np.ascontiguousarray(panel)), (x, top))
        cursor = MARGIN + round(span * answer.time / seconds)
        ImageDraw.Draw(picture).rectangle(
            (cursor, sound_top, cursor + 3, sound_top + SOUND - 1), fill=CURSOR
        )
        yield picture


def spectrogram(waveform: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The log-mel picture of a sound, time to the right, high notes above."""
    padded = np.pad(waveform, (0, SAMPLE_RATE))
    # no gap between patches
    windows = log_mel_patches(torch.from_numpy(padded), SAMPLE_RATE, 0.96).flatten(0, 2)
    levels = windows[: 100 * len(waveform) // SAMPLE_RATE].T.flip(0).numpy()
    levels = (levels - QUIETEST) / (LOUDEST - QUIETEST)
    return Image.fromarray(render.heat(levels)).resize(size, Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
