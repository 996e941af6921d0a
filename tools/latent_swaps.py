"""Draw what a model's latents decide, as docs/assets/latent_swaps.png.

    python tools/latent_swaps.py --model runs/agreement --root runs/demo/data

A row is the middle frame of one clip: the picture with the outline of the true mask, the answer, the answer with c of
the next row's clip, the answer with s_v drawn from its prior, and the posterior's answer to a mask that was shifted by
a third of the picture. Blue is what the model marks; yellow outlines the true or, in the last column, the shifted mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.preprocess import ClipPreprocessor, PreparedClips
from ecmvae.models.checkpoint import load_model
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.types import AVBatch

TITLES = ("truth", "answer", "c of the next clip", "s_v drawn again", "posterior, shifted mask")
SIDE, GAP, HEAD = 160, 6, 24  # pixels
BLUE, YELLOW, WHITE, BLACK = (70, 130, 255), (255, 220, 60), (255, 255, 255), (20, 20, 20)


def main() -> None:
    """Load, answer, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder, run or name; it must have latents")
    parser.add_argument("--root", required=True, help="folder in AVSBench's S4 layout")
    parser.add_argument("--split", default="test_seen")
    parser.add_argument("--clips", type=int, nargs="+", default=[0, 1, 2, 3], help="numbers of the clips")
    parser.add_argument("--out", type=Path, default=Path("docs/assets/latent_swaps.png"))
    args = parser.parse_args()
    model = load_model(args.model)
    if not isinstance(model, ECMVAE):
        parser.error(f"{args.model} is a {type(model).__name__}, which has no latents")
    data = AVSBenchDataset(args.root, "s4", args.split, image_size=model.image_size, hop_seconds=model.hop_seconds)
    prepared = PreparedClips(data, ClipPreprocessor.of(model))
    batch = AVBatch.collate([prepared[number] for number in args.clips])
    rows = draw(model, batch)
    cv2.imwrite(str(args.out), cv2.cvtColor(rows, cv2.COLOR_RGB2BGR))
    print(f"{args.out}: {rows.shape[1]} x {rows.shape[0]} pixels")


@torch.no_grad()
def draw(model: ECMVAE, batch: AVBatch) -> np.ndarray:
    """The picture, RGB: a row for each clip, a column for each of `TITLES`."""
    torch.manual_seed(0)
    clips = model.condition(batch.frames, model.encode_audio(batch.audio))
    prior, masks = model.prior_latents(clips), rearrange(batch.masks, "b t c h w -> (b t) c h w")
    points, count = prior.mode, batch.frames.shape[1]
    shifted = masks.roll((masks.shape[-2] // 3, masks.shape[-1] // 3), (-2, -1))
    misled = model.posterior_latents(shifted, clips).mode
    answers = [
        model.answer(points, clips),
        model.answer({**points, "shared": points["shared"].roll(-count, 0)}, clips),
        model.answer({**points, "visual": prior["visual"].rsample()}, clips),
        rearrange(model.decode_latents(misled, clips), "(b t) c h w -> b t c h w", t=count),
    ]
    middle = count // 2
    pictures = model.normalisation.pictures(batch.frames[:, middle])
    shown = [
        batch.masks,
        batch.masks,
        batch.masks,
        batch.masks,
        rearrange(shifted, "(b t) c h w -> b t c h w", t=count),
    ]
    table = [title_row()]
    for clip, picture in enumerate(rearrange(pictures, "b c h w -> b h w c").numpy()):
        marked = [None, *(foreground_logits(answer)[clip, middle] for answer in answers)]
        row = [cell(picture, logits, mask[clip, middle]) for logits, mask in zip(marked, shown, strict=True)]
        table.append(np.concatenate(row, axis=1))
    return np.concatenate(table)


def title_row() -> np.ndarray:
    """The titles above the columns."""
    row = np.full((HEAD, len(TITLES) * (SIDE + GAP), 3), WHITE, dtype=np.uint8)
    for number, title in enumerate(TITLES):
        place = (number * (SIDE + GAP) + 2, HEAD - 8)
        cv2.putText(row, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, BLACK, 1, cv2.LINE_AA)
    return row


def cell(picture: np.ndarray, logits: Tensor | None, outline: Tensor) -> np.ndarray:
    """One frame with the answer in blue and the outline of the mask that was true or shown in yellow."""
    image = 255 * cv2.resize(picture, (SIDE, SIDE))
    if logits is not None:
        probability = cv2.resize(logits[0].sigmoid().numpy(), (SIDE, SIDE))[..., None]
        image = image * (1 - 0.65 * probability) + 0.65 * probability * np.array(BLUE, np.float32)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    edges = cv2.resize(outline[0].numpy(), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    contours, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, YELLOW, 1)
    return cv2.copyMakeBorder(image, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=WHITE)


if __name__ == "__main__":
    main()
