"""Debiasing, measured: a training set in which hats are rare, and one drawn from it by rarity weights.

Amini et al., "Uncovering and mitigating algorithmic bias through learned latent structure", 2019. At 32 pixels, so that
the four trainings take minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from faces_judge import ATTRIBUTES, Judge
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecmvae.data.picture_folder import PictureFolder
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.celeba import face_vae
from ecmvae.vae.outliers import effective_sample_size, rarity_weights
from ecmvae.vae.vae import VAE

SIZE = 32
RARE = "Wearing_Hat"
SHARE = 0.02
COUNT = 1500
EPOCHS = 25
WEIGHT = 20_000.0


def debias(data: Path, runs: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers, and rows of pictures: rare test faces and their reconstructions by each model."""
    folder = PictureFolder(data, SIZE)
    images, table = folder.images("train"), folder.table("train").float()
    columns = [folder.attributes.index(name) for name in ATTRIBUTES]
    rare = table[:, folder.attributes.index(RARE)].bool()
    common, few = (torch.nonzero(mask)[:, 0] for mask in (~rare, rare))
    chosen = torch.cat([common[: round(COUNT * (1 - SHARE))], few[: round(COUNT * SHARE)]])
    biased, is_rare = images[chosen], rare[chosen]
    judge = Judge(SIZE)
    kept(runs / "judge32.safetensors", judge, lambda: judge.learn(images, table[:, columns]))
    judge.eval()
    uniform = _train(runs / "biased.safetensors", biased)
    with torch.no_grad():
        codes = torch.cat([uniform.encode(part.float() / 255).mean for part in biased.split(250)])
    weights = rarity_weights(codes)
    bare = rarity_weights(codes, dimensions=None, effective_share=0.0)
    known = torch.where(is_rare, 0.5 / is_rare.sum(), 0.5 / (~is_rare).sum())
    models = {
        "as it is": uniform,
        "by rarity": _train(runs / "rarity.safetensors", biased[_drawn(weights)]),
        "by the attribute": _train(runs / "attribute.safetensors", biased[_drawn(known)]),
    }
    test = torch.cat([folder.images(split) for split in ("valid", "test")]).float() / 255
    hats = torch.cat([folder.attribute(RARE, split) for split in ("valid", "test")])
    numbers: dict[str, Any] = {
        "training_faces": len(biased),
        "share_of_hats": float(is_rare.float().mean()),
        "share_of_hats_drawn_by_rarity": float(weights[is_rare].sum() / weights.sum()),
        "effective_sample_size_by_rarity": effective_sample_size(weights.double().log()),
        "effective_sample_size_of_the_bare_product_of_200_histograms": effective_sample_size(
            bare.double().clamp_min(1e-300).log()
        ),
        "test_faces_with_and_without_hat": [int(hats.sum()), int((~hats).sum())],
        "judge_finds_hats_in_test_faces": float(judge.sees(test[hats], RARE).float().mean()),
    }
    rows = {"test face": test[hats][:10]}
    for name, model in models.items():
        with torch.no_grad():
            rebuilt = torch.cat([model.reconstruct(part) for part in test.split(250)])
        errors = ((rebuilt - test) ** 2).flatten(1).mean(1)
        seen = judge.sees(rebuilt, RARE)
        numbers[name] = {
            "squared_error_with_hat": float(errors[hats].mean()),
            "squared_error_without_hat": float(errors[~hats].mean()),
            "hats_still_seen_in_reconstructions": float(seen[hats].float().mean()),
            "hats_seen_where_there_are_none": float(seen[~hats].float().mean()),
        }
        rows[f"trained {name}"] = rebuilt[hats][:10]
    return numbers, rows


def _drawn(weights: Tensor) -> Tensor:
    return torch.multinomial(
        weights, COUNT, replacement=True, generator=torch.Generator().manual_seed(0)
    )


def _train(path: Path, images: Tensor) -> VAE:
    torch.manual_seed(0)
    model = face_vae(SIZE, reconstruction_weight=WEIGHT, upsampling="nearest")
    settings = FitSettings(epochs=EPOCHS, batch_size=16, device="cpu")
    kept(path, model, lambda: fit(model, {"x": images.float() / 255}, settings, progress=False))
    return model.eval()


def kept(path: Path, model: torch.nn.Module, train: Any) -> None:
    """Train, or read what was trained before."""
    if path.is_file():
        model.load_state_dict(load_file(path))
        return
    train()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path)
