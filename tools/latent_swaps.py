"""Draw what a model's latents decide, as docs/assets/latent_swaps.jpg.

    python tools/latent_swaps.py --model runs/agreement --video docs/assets/example.mp4 --seconds 1 3

A row is one second of the video: the picture, the answer, the answer with c of the next row's second, the answer with
s_v drawn from its prior, and the answer of the posterior when it is shown the disc in yellow. Blue is what is marked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.video import read_clip
from ecmvae.models.checkpoint import load_model
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.types import AVBatch, AVClip

TITLES = ("picture", "answer", "c of the next row", "s_v drawn again", "posterior, shown a disc")
SIDE, GAP, HEAD = 192, 6, 24  # pixels
BLUE, YELLOW, WHITE, BLACK = (70, 130, 255), (255, 220, 60), (255, 255, 255), (20, 20, 20)


def main() -> None:
    """Load, answer, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", required=True, help="model folder, run or name; it must have latents"
    )
    parser.add_argument("--video", type=Path, default=Path("docs/assets/example.mp4"))
    parser.add_argument(
        "--seconds",
        type=int,
        nargs="+",
        default=[1, 3],
        help="numbers of the rows' seconds, from 0",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/assets/latent_swaps.jpg"))
    args = parser.parse_args()
    model = load_model(args.model)
    if not isinstance(model, ECMVAE):
        parser.error(f"{args.model} is a {type(model).__name__}, which has no latents")
    raw = read_clip(args.video, fps=1 / model.hop_seconds)
    side = (model.image_size, model.image_size)
    frames = np.stack(
        [cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in raw.frames]
    )
    clip = AVClip(
        name=args.video.stem,
        frames=rearrange(torch.from_numpy(frames), "t h w c -> t c h w"),
        waveform=torch.from_numpy(raw.waveform),
        hop_seconds=model.hop_seconds,
    )
    rows = draw(model, AVBatch.collate([ClipPreprocessor.of(model)(clip)]), args.seconds)
    cv2.imwrite(
        str(args.out), cv2.cvtColor(rows, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    print(f"{args.out}: {rows.shape[1]} x {rows.shape[0]} pixels")


@torch.no_grad()
def draw(model: ECMVAE, batch: AVBatch, seconds: list[int]) -> np.ndarray:
    """The picture, RGB, of a batch of one clip: a row for each second, a column for each of `TITLES`."""
    torch.manual_seed(0)
    clip = model.condition(batch.frames, model.encode_audio(batch.audio))
    prior = model.prior_latents(clip)
    points = prior.mode
    answer = foreground_logits(model.answer(points, clip))[0]
    shown = disc(model.image_size).expand_as(answer)
    swapped = points["shared"].clone()
    swapped[seconds] = points["shared"][[*seconds[1:], seconds[0]]]
    columns = [
        answer,
        foreground_logits(model.answer({**points, "shared": swapped}, clip))[0],
        foreground_logits(model.answer({**points, "visual": prior["visual"].rsample()}, clip))[0],
        model.decode_latents(model.posterior_latents(shown, clip).mode, clip),
    ]
    pictures = rearrange(
        model.normalisation.pictures(batch.frames[0]), "t c h w -> t h w c"
    ).numpy()
    table = [title_row()]
    for second in seconds:
        row = [
            cell(pictures[second]),
            *(cell(pictures[second], column[second]) for column in columns[:-1]),
        ]
        row.append(cell(pictures[second], columns[-1][second], shown[second]))
        table.append(np.concatenate(row, axis=1))
    return np.concatenate(table)


def disc(size: int) -> Tensor:
    """(1, size, size): 1 in a disc at the left, above the middle, 0 elsewhere."""
    place = (torch.arange(size) + 0.5) / size
    return (
        (((place[:, None] - 0.4).square() + (place - 0.25).square()).sqrt() < 0.15)
        .float()
        .unsqueeze(0)
    )


def title_row() -> np.ndarray:
    """The titles above the columns."""
    row = np.full((HEAD, len(TITLES) * (SIDE + GAP), 3), WHITE, dtype=np.uint8)
    for number, title in enumerate(TITLES):
        place = (number * (SIDE + GAP) + 2, HEAD - 8)
        cv2.putText(row, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, BLACK, 1, cv2.LINE_AA)
    return row


def cell(
    picture: np.ndarray, logits: Tensor | None = None, outline: Tensor | None = None
) -> np.ndarray:
    """One frame, with the answer in blue and the outline of a mask in yellow."""
    image = 255 * cv2.resize(picture, (SIDE, SIDE))
    if logits is not None:
        probability = cv2.resize(logits[0].sigmoid().numpy(), (SIDE, SIDE))[..., None]
        image = image * (1 - 0.65 * probability) + 0.65 * probability * np.array(BLUE, np.float32)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    if outline is not None:
        mask = cv2.resize(outline[0].numpy(), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST).astype(
            np.uint8
        )
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, YELLOW, 1)
    return cv2.copyMakeBorder(image, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=WHITE)


if __name__ == "__main__":
    main()
