"""What the VAE trainer costs over a plain PyTorch loop: `python tools/benchmark_vae.py [--repeats 5]`.

The 784-256-10 VAE on 8,000 MNIST digits, batch 100, one thread. Both run the same steps on the same batches, indexed
from one tensor; the trainer also checks its input, sums every term, writes TensorBoard points, a checkpoint an epoch
and a progress bar. Repeats are interleaved, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.data.mnist import load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.fully_connected import mlp_vae


class PlainVAE(nn.Module):
    """The same network and loss with nothing around it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.mean, self.logvar = (
            nn.Linear(784, 256),
            nn.Linear(256, 10),
            nn.Linear(256, 10),
        )
        self.first, self.last = nn.Linear(10, 256), nn.Linear(256, 784)

    def forward(self, x: Tensor) -> Tensor:
        """Mean loss in nats."""
        hidden = F.relu(self.trunk(x))
        mean, logvar = self.mean(hidden), self.logvar(hidden)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        logits = self.last(F.relu(self.first(z)))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()
        return (reconstruction + kl) / len(x)


def plain(x: Tensor, epochs: int) -> None:
    """The loop that anybody would write."""
    torch.manual_seed(0)
    model = PlainVAE()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), 100):
            optimizer.zero_grad()
            loss = model(x[order[start : start + 100]])
            loss.backward()
            optimizer.step()


def trainer(x: Tensor, epochs: int) -> None:
    """`ecmvae vae train` without reading the data."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        fit(mlp_vae(), {"x": x}, FitSettings(epochs=epochs, device="cpu"), folder=Path(folder))


def main() -> int:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x = load_images("mnist").train_images[:8000].flatten(1)
    seconds: dict[str, list[float]] = {"plain": [], "trainer": []}
    runs: dict[str, Callable[[Tensor, int], None]] = {"plain": plain, "trainer": trainer}
    for run in runs.values():  # first calls import and warm up
        run(x[:1000], 1)
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            began = time.process_time()
            run(x, arguments.epochs)
            seconds[name].append((time.process_time() - began) / arguments.epochs)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "cpu_seconds_an_epoch": {name: round(value, 4) for name, value in medians.items()},
                "ratio": round(medians["trainer"] / medians["plain"], 3),
                "repeats": arguments.repeats,
                "every_ratio": [
                    round(b / a, 3)
                    for a, b in zip(seconds["plain"], seconds["trainer"], strict=True)
                ],
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
