"""What tools/benchmark.py measures: rows of variants, each of which does the same work in another way.

A variant is a function of (quick, config) that prepares everything and returns the work to be timed; the work returns
how many clips it did. The first variant of a row is the formulation that the others are compared with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ecmvae.config import Config, load_config
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.clips import ClipSource
from ecmvae.data.miniature import Scene, ShapeScenes, write_miniature
from ecmvae.data.packed import PackedClips
from ecmvae.data.packing import pack_data
from ecmvae.device import multiplies_bfloat16
from ecmvae.metrics.functional import avsbench_fscore_curve
from ecmvae.training.module import SegmentationModule

Work = Callable[[], int]
Variant = Callable[[bool, str], Work]

_DEBUG = "configs/debug.yaml"


def _full_size(quick: bool, path: str, **train: object) -> tuple[Config, SegmentationModule]:
    """The network of a configuration with random weights: its speed does not depend on them."""
    settings = {f"train.{key}": value for key, value in train.items()}
    config = load_config(
        _DEBUG if quick else path, settings | {"model.visual.weights": None, "train.device": "cpu"}
    )
    torch.manual_seed(0)
    config = replace(
        config, model=replace(config.model, audio=replace(config.model.audio, weights=None))
    )
    return config, SegmentationModule(config)


def _clip(config: Config) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    frames, side = config.data.num_frames, config.data.image_size
    masks = torch.zeros(1, frames, 1, side, side)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    every = torch.ones(1, frames, dtype=torch.bool)
    return torch.randn(1, frames, 3, side, side), torch.rand(1, frames, 128), masks, every


def _step(
    quick: bool,
    path: str,
    layout: torch.memory_format = torch.channels_last,
    dtype: torch.dtype = torch.float32,
    checkpointing: bool = False,
) -> Work:
    config, module = _full_size(quick, path, activation_checkpointing=checkpointing)
    module.model.to(memory_format=layout)  # type: ignore[call-overload]
    frames, audio, masks, every = _clip(config)
    optimiser = module.train().configure_optimizers()

    def work() -> int:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            output = module.model(frames, audio, masks=masks, supervised=every)
            total = module.loss(output, masks, every).total
        total.backward()
        optimiser.step()
        return 1

    return work


def _forward(
    quick: bool, path: str, layout: torch.memory_format, dtype: torch.dtype = torch.float32
) -> Work:
    config, module = _full_size(quick, path)
    module.model.to(memory_format=layout)  # type: ignore[call-overload]
    frames, audio, _, _ = _clip(config)
    module.eval()

    def work() -> int:
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16),
        ):
            module.model(frames, audio, latents="mean")
        return 1

    return work


def _explicit_attention(block: nn.Module, tokens: Tensor, audio: Tensor) -> Tensor:
    """TPAVI as the paper writes it: theta^T phi is an L x L matrix, L = T*h*w."""
    batch, frames, pixels, _ = tokens.shape
    flat = tokens.flatten(1, 2)
    phi = block.phi(audio).repeat_interleave(pixels, dim=1)
    weights = block.theta(flat) @ phi.transpose(1, 2) / (frames * pixels)
    attended = block.out(weights @ block.g(flat))
    attended = block.out_norm(attended.flatten(0, 1)).unflatten(0, (batch, frames, pixels))
    fused: Tensor = block.norm(attended + tokens)
    return fused


def _tpavi(quick: bool, path: str, explicit: bool) -> Work:
    from ecmvae.models.tpavi import TPAVI

    torch.manual_seed(0)
    side = 14 if quick else 28
    block, tokens, audio = (
        TPAVI(128, 128).eval(),
        torch.randn(1, 5, side * side, 128),
        torch.randn(1, 5, 128),
    )
    nn.init.ones_(block.out_norm.weight)
    attend = partial(_explicit_attention, block) if explicit else block.attend

    def work() -> int:
        with torch.no_grad():
            torch.testing.assert_close(attend(tokens, audio)[0, 0, 0, :1], expected)
        return 1

    with torch.no_grad():
        expected = block.attend(tokens, audio)[0, 0, 0, :1]
    return work


def _fscore(quick: bool, path: str, loop: bool) -> Work:
    torch.manual_seed(0)
    count = 2 if quick else 20
    logits, target = torch.randn(count, 224, 224), (torch.rand(count, 224, 224) > 0.7).float()
    thresholds = torch.linspace(0, 1 - 1e-10, 255)

    def curve(probability: Tensor, truth: Tensor) -> Tensor:
        found = []
        for threshold in thresholds:
            hit = (probability >= threshold).float()
            true = (hit * truth).sum()
            precision, recall = true / (hit.sum() + 1e-20), true / (truth.sum() + 1e-20)
            found.append(torch.nan_to_num(1.3 * precision * recall / (0.3 * precision + recall)))
        return torch.stack(found)

    def work() -> int:
        if loop:
            torch.stack([curve(p, y) for p, y in zip(logits.sigmoid(), target, strict=True)])
        else:
            avsbench_fscore_curve(logits, target)
        return count

    return work


def _run(quick: bool, path: str, lightning: bool) -> Work:
    """An epoch at the demo's size with cached maps: Lightning's loop with all that watches a run, or a bare one."""
    from ecmvae.training.run import _build, _quiet_lightning, build_trainer, watch

    size = (
        {"data.image_size": 64, "data.length": 16}
        if quick
        else {"data.image_size": 128, "data.length": 160}
    )
    name = {
        "data.name": "synthetic",
        "data.val_length": 2,
        "data.workers": 0,
        "model.audio.frozen": False,
    }
    train = {
        "train.max_minutes": None,
        "train.epochs": 1,
        "train.log_images": 0,
        "train.device": "cpu",
    }
    config = load_config(
        "configs/collage_demo.yaml", size | name | train | {"train.precision": "32-true"}
    )
    data, module, _ = _build(config, None, None)
    module.cache_features(data)
    folder = Path(tempfile.mkdtemp())

    def bare() -> int:
        optimiser, steps = module.configure_optimizers(), 0
        module.train()
        for loaded in data.train_dataloader():
            batch = data.on_after_batch_transfer(data.on_before_batch_transfer(loaded, 0), 0)
            optimiser.zero_grad()
            batch = module.on_after_batch_transfer(batch, 0)
            output = module(batch, learn=True)
            total = module.loss(
                output,
                batch.masks,
                batch.supervised,
                labels=batch.labels,
                valid=batch.valid,
                objects=batch.objects,
            ).total
            total.backward()
            optimiser.step()
            steps += len(batch.names)
        return steps

    def trained() -> int:
        with _quiet_lightning():
            trainer = build_trainer(config)
            watch(trainer, config, folder, data, 0.0)
            trainer.limit_val_batches = 0
            trainer.fit(module, datamodule=data)
        return trainer.global_step * data.batch_size

    return trained if lightning else bare


class _Photographs(ShapeScenes):
    """Shapes over noise whose spectrum falls as that of photographs does, so that PNG takes as long to decode."""

    def scene(self, index: int) -> Scene:
        """Clip number `index`."""
        scene, random = super().scene(index), np.random.default_rng(index)
        frames, side = scene.pictures.shape[:2]
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) + 1 / side
        still = np.fft.ifft2(np.fft.fft2(random.standard_normal((3, side, side))) / frequency).real
        still = 128 + 45 * (still - still.mean()) / still.std()
        grain = still + random.normal(0, 2, (frames, 3, side, side))
        pictures = np.where(
            scene.objects[..., None] > 0, scene.pictures, grain.transpose(0, 2, 3, 1).clip(0, 255)
        )
        return replace(scene, pictures=pictures.astype(np.uint8))


def _data(
    quick: bool, path: str, audio: Literal["auto", "wav"] = "auto", packed: bool = False
) -> Work:
    """Clips of a miniature S4, from its files or packed."""
    side, count = (64, 4) if quick else (224, 24)
    folder = tempfile.TemporaryDirectory()
    counts = {"train": count, "val": 1}
    write_miniature(folder.name, "s4", counts, source=_Photographs("s4", side), composed=True)
    clips: ClipSource = AVSBenchDataset(folder.name, "s4", image_size=side, audio=audio)
    if packed:
        index = pack_data(
            folder.name, f"{folder.name}/packed", "s4", None, side, 5, 0.96, 1, progress=False
        )
        clips = PackedClips(index, "train")

    def read(
        kept: tempfile.TemporaryDirectory[str] = folder,
    ) -> int:  # the folder lives as long as this does
        for place in range(count):
            clips[place]
        return count

    return read


_LAST, _FIRST = torch.channels_last, torch.contiguous_format
ROWS: dict[str, dict[str, Variant]] = {
    "step": {
        "contiguous": partial(_step, layout=_FIRST),
        "channels_last": _step,
        "channels_last, checkpointing": partial(_step, checkpointing=True),
        "channels_last, bfloat16": partial(_step, dtype=torch.bfloat16),
    },
    "forward": {
        "contiguous": partial(_forward, layout=_FIRST),
        "channels_last": partial(_forward, layout=_LAST),
        "channels_last, bfloat16": partial(_forward, layout=_LAST, dtype=torch.bfloat16),
    },
    "tpavi": {
        "explicit L x L": partial(_tpavi, explicit=True),
        "reassociated": partial(_tpavi, explicit=False),
    },
    "fscore": {
        "loop over thresholds": partial(_fscore, loop=True),
        "histogram": partial(_fscore, loop=False),
    },
    "loop": {"bare": partial(_run, lightning=False), "Lightning": partial(_run, lightning=True)},
    "data": {
        "files": _data,
        "files, no patches": partial(_data, audio="wav"),
        "packed": partial(_data, packed=True),
    },
}
"""Row -> variant -> its work."""
# A processor without instructions for bfloat16 takes many times as long.
if not multiplies_bfloat16("cpu"):
    ROWS = {
        row: {n: each for n, each in variants.items() if "bfloat16" not in n}
        for row, variants in ROWS.items()
    }
