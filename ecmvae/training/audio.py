"""Teach an audio encoder to name what sounds, so that it can be frozen as the paper freezes VGGish.

AudioSet's VGGish weights are not always available. Here an encoder learns which classes are heard in each second of
mixtures of zero to three recordings (binary cross-entropy for each class). The classifier is then discarded; the
embedding under it stays.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ecmvae.audio.encoder import build_audio_encoder
from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.augment import coloured_noise, decibels
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.training.learning_rate import one_cycle
from ecmvae.training.progress import progress_bar
from ecmvae.training.sounds import CollageSounds, LabelledSound, SoundSource, TaggingDataset
from ecmvae.weight_files import write_weight_file


@dataclass(frozen=True, kw_only=True)
class AudioReport:
    """How well the trained encoder names single recordings; fractions in [0, 1], None where there are none.

    Attributes:
        known: Share of the recordings it was trained on whose class it ranks first.
        held_out: The same for recordings it never heard.
        others: Share of held-out sounds of none of the classes (speech, music, rain, ...) that the classifier names all
            the same: the highest probability of a class is above 1/2.
        noise: The same for white, pink and brown noise, from 40 dB below a recording to its level.
        steps: Optimiser steps.
        seconds: Wall time.
    """

    known: float | None
    held_out: float | None
    others: float | None
    noise: float | None
    steps: int
    seconds: float


def train_audio(
    sounds: SoundSource,
    out: str | Path,
    *,
    name: str | nn.Module | type[nn.Module] = "vggish_small",
    steps: int = 600,
    max_minutes: float | None = None,
    learning_rate: float = 3e-3,
    batch_size: int = 48,
    workers: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> AudioReport:
    """Train an encoder and write its folder: ``model.safetensors``, ``config.yaml`` and ``report.json``.

    Args:
        sounds: What to learn from.
        out: The folder; ``model.audio.weights`` accepts it. It must not exist.
        name: Which encoder: a registered name, an import path, a class or an encoder.
        steps: Optimiser steps at the most.
        max_minutes: Stop after this time, with the learning rate's cycle complete.
        learning_rate: Peak learning rate.
        batch_size: Seconds of sound in a batch.
        workers: Processes that mix sounds.
        seed: Seed of weights and mixtures.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        The accuracies.

    Raises:
        UserError: When `out` exists, or there is no such device.
        FloatingPointError: When the loss is no longer finite.
    """
    out = Path(out)
    if out.exists():
        raise UserError(f"{out} exists already: choose another --out, or move it away")
    started = time.monotonic()
    torch.manual_seed(seed)
    place = choose_device(device)
    encoder = build_audio_encoder(name).to(place)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub knows no module
    classifier = nn.Linear(encoder.dim, len(sounds.classes)).to(place)
    parameters = [*encoder.parameters(), *classifier.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-4)
    mixtures = TaggingDataset(
        sounds, encoder.front_end, batches=steps, batch_size=batch_size, seed=seed
    )
    loader = DataLoader(mixtures, batch_size=None, num_workers=workers, generator=torch.Generator())
    progress, done = 0.0, 0
    with progress_bar(f"naming {len(sounds.classes)} sounds", total=1000) as advance:
        for features, classes in loader:
            advanced = max(
                done / steps,
                0 if max_minutes is None else (time.monotonic() - started) / max_minutes / 60,
            )
            if advanced >= 1:
                break
            advance(round(1000 * advanced) - round(1000 * progress))
            progress = advanced
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * one_cycle(progress)
            logits = classifier(encoder(features.to(place)))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, classes.to(place))
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is no longer a finite number at step {done}: lower learning_rate"
                )
            optimiser.zero_grad()
            torch.autograd.backward(loss * len(sounds.classes))
            optimiser.step()
            done += 1
        advance(1000 - round(1000 * progress))
    encoder.eval()
    report = AudioReport(
        known=accuracy(encoder, classifier, sounds.singles(held_out=False)),
        held_out=accuracy(encoder, classifier, sounds.singles(held_out=True)),
        others=false_names(encoder, classifier, sounds.unnamed()),
        noise=false_names(encoder, classifier, noises(len(sounds.classes))),
        steps=done,
        seconds=round(time.monotonic() - started, 1),
    )
    sample = sounds.mixtures(seed=2**31 + seed, seconds=96)
    scale_to_one(encoder, sample.features(encoder.front_end).to(place))
    with replacing(out) as folder:
        folder.mkdir()
        write_weight_file(
            {key: value.cpu().contiguous() for key, value in encoder.state_dict().items()},
            folder / "model.safetensors",
        )
        chosen = {"name": _name_of(name), "classes": list(sounds.classes)}
        settings = {**chosen, "learning_rate": learning_rate, "seed": seed}
        # a model of another fold must not be trained with this encoder
        if isinstance(sounds, CollageSounds):
            settings |= {"folds": sounds.sources.folds, "fold": sounds.sources.fold_number}
        (folder / "config.yaml").write_text(
            yaml.safe_dump(settings, sort_keys=False), encoding="utf-8"
        )
        (folder / "report.json").write_text(
            json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8"
        )
    return report


@torch.no_grad()
def scale_to_one(encoder: nn.Module, features: Float[Tensor, "n *f"]) -> None:
    """Divide the embedding by its root mean square over these features, in place.

    If the last layer is linear under a ReLU, as VGGish's is, this changes nothing but the scale. Without it entries
    reach 20 and more, and latent encoders that read them start thousands of nats from each other.
    """
    size = encoder(features).square().mean().sqrt()
    linear = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
    if size > 0 and linear:
        linear[-1].weight.div_(size)
        if linear[-1].bias is not None:
            linear[-1].bias.div_(size)


@torch.no_grad()
def accuracy(encoder: Any, classifier: nn.Linear, sounds: list[LabelledSound]) -> float | None:
    """Share of single-class seconds whose class is ranked first; None when there are none."""
    if not sounds:
        return None
    features = torch.cat([sound.features(encoder.front_end) for sound in sounds])
    classes = torch.cat([sound.classes for sound in sounds])
    logits = classifier(encoder(features.to(classifier.weight.device))).cpu()
    return float((logits.argmax(1) == classes.argmax(1)).float().mean())


@torch.no_grad()
def false_names(encoder: Any, classifier: nn.Linear, sounds: list[LabelledSound]) -> float | None:
    """Share of seconds in which some class has a probability above 1/2; None when there are none."""
    if not sounds:
        return None
    features = torch.cat([sound.features(encoder.front_end) for sound in sounds])
    logits = classifier(encoder(features.to(classifier.weight.device)))
    return float((logits.amax(1) > 0).float().mean())


def noises(classes: int, count: int = 96) -> list[LabelledSound]:
    """Seconds of white, pink and brown noise at levels of -60 to -20 dB of full scale, the same in every call."""
    rng = np.random.default_rng(0)
    levels = np.linspace(-60, -20, count)
    made = [coloured_noise(rng, SAMPLE_RATE) * decibels(level) for level in levels]
    return [LabelledSound(torch.from_numpy(noise), torch.zeros(1, classes)) for noise in made]


def _name_of(choice: str | nn.Module | type[nn.Module]) -> str:
    """The name or import path by which a configuration can ask for this encoder."""
    if isinstance(choice, str):
        return choice
    cls = choice if isinstance(choice, type) else type(choice)
    return f"{cls.__module__}:{cls.__qualname__}"
