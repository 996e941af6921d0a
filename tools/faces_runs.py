"""Two finished runs on faces, a VAE and an autoencoder, with their data: what the gallery of faces is drawn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from faces_debias import kept
from faces_judge import ATTRIBUTES, Judge, rounded
from torch import Tensor

from ecmvae.data.picture_folder import PictureFolder
from ecmvae.files import write_json
from ecmvae.provenance import source_commit
from ecmvae.training.vae import load_vae
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.latent_space import attribute_direction
from ecmvae.vae.plots import labelled_canvas, save_canvas
from ecmvae.vae.vae import VAE

SEED = 0


class Faces:
    """Two trained models, their data, and where pictures and numbers go."""

    def __init__(self, run: Path, ae_run: Path, data: Path, runs: Path, out: Path) -> None:
        self.run, self.ae_run, self.data, self.runs, self.out = run, ae_run, data, runs, out
        self.folder = PictureFolder(data)
        path = out / "faces.json"
        self.numbers: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    @cached_property
    def vae(self) -> VAE:
        """The VAE."""
        vae = load_vae(self.run)[0]
        assert isinstance(vae, VAE)
        return vae.cpu().eval()

    @cached_property
    def autoencoder(self) -> AutoEncoder:
        """The autoencoder."""
        autoencoder = load_vae(self.ae_run)[0]
        assert isinstance(autoencoder, AutoEncoder)
        return autoencoder.cpu().eval()

    @cached_property
    def held_out(self) -> Tensor:
        """Pictures that no model has seen, in [0, 1]: the validation and the test split."""
        return torch.cat([self.folder.images("valid"), self.folder.images("test")]).float() / 255

    @cached_property
    def codes(self) -> Tensor:
        """Posterior means of the training faces."""
        return self.encode(self.folder.images("train").float() / 255)

    @cached_property
    def judge(self) -> Judge:
        """The classifier of the true attributes."""
        judge = Judge(64)
        table = self.folder.table("train")[
            :, [self.folder.attributes.index(name) for name in ATTRIBUTES]
        ]
        kept(
            self.runs / "judge.safetensors",
            judge,
            lambda: judge.learn(self.folder.images("train"), table),
        )
        return judge.eval()

    def has(self, attribute: str) -> Tensor:
        """Which of the held-out faces have an attribute."""
        return torch.cat(
            [self.folder.attribute(attribute, "valid"), self.folder.attribute(attribute, "test")]
        )

    def direction(self, attribute: str) -> Tensor:
        """Mean code of the training faces with an attribute minus that of those without."""
        has = self.folder.attribute(attribute, "train")
        return attribute_direction(self.codes[has], self.codes[~has])

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Posterior means."""
        return torch.cat([self.vae.encode(part).mean for part in images.split(250)])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Mean pictures."""
        return torch.cat(
            [self.vae.likelihood.mean(self.vae.decode(part)) for part in codes.split(250)]
        ).clamp(0, 1)

    @torch.no_grad()
    def ae_codes(self, images: Tensor) -> Tensor:
        """Codes of the autoencoder."""
        return torch.cat([self.autoencoder.encode(part) for part in images.split(250)])

    @torch.no_grad()
    def ae_decode(self, codes: Tensor) -> Tensor:
        """Pictures of the autoencoder."""
        decode, mean = self.autoencoder.decode, self.autoencoder.likelihood.mean
        return torch.cat([mean(decode(part)) for part in codes.split(250)]).clamp(0, 1)

    def command(self, section: str) -> str:
        """How to make a section again."""
        return f"python tools/gallery_faces.py {self.run} {self.ae_run} {section}"

    def grid(
        self, section: str, name: str, rows: Tensor, row_labels: Sequence[str] = (), column_labels: Sequence[str] = (),
        title: str = "", scale: int = 1,
    ) -> None:  # fmt: skip
        """Save labelled rows (r, c, 3, H, W)."""
        canvas = labelled_canvas(rows, row_labels, column_labels, title, scale=scale)
        save_canvas(canvas, self.out / f"faces_{name}.png", text={"command": self.command(section)})

    def report(self, section: str, numbers: dict[str, Any]) -> None:
        """Keep a section's numbers, with where they come from."""
        source = {"command": self.command(section), "seed": SEED, "commit": source_commit()}
        self.numbers[section] = rounded(numbers) | source
        write_json(self.out / "faces.json", self.numbers)
