"""Lowest and highest value of every knob of `Config` whose size costs memory or time, or that a library limits."""

from __future__ import annotations

RANGES: dict[str, dict[str, tuple[int | float, int | float]]] = {
    "model": {"channels": (8, 4096), "num_classes": (1, 256)},
    "model.visual": {"drop_path": (0, 0.99)},
    "model.latent": {"dim": (1, 4096), "js_samples": (1, 1000)},
    "model.fusion": {"bare_names": (0, 1)},
    "data": {
        "image_size": (32, 4096),
        "num_frames": (1, 1000),
        "hop_seconds": (0.01, 60),
        "free_scenes": (0, 1),
        "length": (1, 10_000_000),
        "val_length": (1, 10_000_000),
        "negatives": (0, 1),
        "workers": (0, 256),
        "folds": (0, 100),
        "fold": (0, 99),
    },
    "train": {
        "epochs": (1, 1_000_000),
        "batch_size": (1, 65_536),
        "check_val_every_n_epochs": (1, 1_000_000),
        "devices": (1, 1024),
        "num_nodes": (1, 10_000),
        "accumulate": (1, 65_536),
        "backbone_multiplier": (0, 1000),
        "ema_decay": (0, 1),
        "swa_start": (0, 1),
        "warmup": (0, 1),
        "seed": (0, 2**32 - 1),
    },
}
"""Section -> key -> range, both ends included; generous, so that no experiment is refused."""
