"""What the gallery's sections share: data, trained models kept on disk, pictures and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.data.mnist import LabelledImages, load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.plots import labelled_canvas, save_canvas
from ecmvae.vae.zoo import Model, ModelSettings, batch_for, build_vae


class Classifier(nn.Module):
    """A small CNN that knows the digits: the independent judge, and the feature network of every FID here."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 49, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, 28, 28) -> (n, 10) logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Gallery:
    """Where sections take their models from and leave their results."""

    def __init__(self, out: Path, runs: Path) -> None:
        self.out, self.runs, self.section = out, runs, ""
        self._begun: set[str] = set()
        path = out / "numbers.json"
        self.entries: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    @cached_property
    def mnist(self) -> LabelledImages:
        """60,000 + 10,000 digits."""
        return load_images("mnist")

    @cached_property
    def fashion(self) -> LabelledImages:
        """About 59,000 + 10,000 clothes, padded to 32x32 as the lectures' Keras network wants them."""
        data = load_images("fashion")
        train, test = (
            F.pad(images, (2, 2, 2, 2)) for images in (data.train_images, data.test_images)
        )
        return replace(data, train_images=train, test_images=test)

    def command(self, section: str | None = None) -> str:
        """How to make a section again."""
        return f"python tools/gallery.py {section or self.section}"

    def model(
        self,
        name: str,
        settings: ModelSettings,
        epochs: int,
        *,
        images: Tensor | None = None,
        labels: Tensor | None = None,
        batch_size: int = 100,
    ) -> Model:
        """A trained model in eval mode: from runs/ when it was trained before, otherwise trained now (Adam, 1e-3)."""
        images = self.mnist.train_images if images is None else images
        labels = self.mnist.train_labels[: len(images)] if labels is None else labels
        torch.manual_seed(0)
        model = build_vae(settings, tuple(images.shape[1:]))

        def train() -> None:
            fit(
                model,
                batch_for(model, images, labels),
                FitSettings(epochs=epochs, batch_size=batch_size),
                progress=False,
            )

        return self.kept(name, model, train)  # type: ignore[return-value]

    @cached_property
    def judge(self) -> Classifier:
        """The classifier, trained for three epochs."""
        torch.manual_seed(1)
        judge = Classifier()

        def train() -> None:
            optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
            for _ in range(3):
                for index in torch.randperm(60_000).split(100):
                    optimizer.zero_grad()
                    logits = judge(self.mnist.train_images[index])
                    nn.functional.cross_entropy(logits, self.mnist.train_labels[index]).backward()
                    optimizer.step()

        return self.kept("judge", judge, train)  # type: ignore[return-value]

    @torch.no_grad()
    def recognised(self, images: Tensor, labels: Tensor) -> float:
        """Share of images that the judge puts into their class."""
        guesses = torch.cat([self.judge(part).argmax(1) for part in images.split(1000)])
        return float((guesses == labels).float().mean())

    def picture(self, name: str) -> Path:
        """Path of a picture of this section, entered into the index."""
        self._entry["pictures"].append(f"{name}.png")
        return self.out / f"{name}.png"

    def grid(
        self,
        name: str,
        images: Tensor,
        title: str,
        rows: Sequence[str],
        columns: Sequence[str],
        *,
        scale: int = 1,
    ) -> None:
        """Save (rows, columns, C, H, W) images as one picture with a title and a label for each row and column."""
        canvas = labelled_canvas(images, rows, columns, title, scale=scale)
        save_canvas(canvas, self.picture(name), text={"command": self.command()})

    def figure(self, name: str, drawn: Any) -> None:
        """Save a matplotlib figure."""
        drawn.savefig(self.picture(name), dpi=80, metadata={"command": self.command()})

    def report(self, text: str, **numbers: Any) -> None:
        """What the section shows, and its numbers."""
        self._entry["text"] = text
        self._entry["numbers"] |= {key.replace("_", " "): value for key, value in numbers.items()}

    def save(self) -> None:
        """Write numbers.json."""
        (self.out / "numbers.json").write_text(json.dumps(self.entries, indent=1) + "\n")

    @property
    def _entry(self) -> dict[str, Any]:
        if self.section not in self._begun:
            self._begun.add(self.section)
            self.entries[self.section] = {"text": "", "pictures": [], "numbers": {}}
        entry: dict[str, Any] = self.entries[self.section]
        return entry

    def kept(self, name: str, model: nn.Module, train: Callable[[], object]) -> nn.Module:
        """`model` with its weights from runs/, or trained by `train` and kept there; in eval mode."""
        path = self.runs / f"{name}.safetensors"
        if path.is_file():
            model.load_state_dict(load_file(path))
        else:
            with torch.enable_grad():  # a section may ask for a model while it draws
                train()
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), path)
        return model.eval()
