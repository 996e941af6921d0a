"""What the face gallery measures with: a classifier that learnt the drawn faces' true attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTRIBUTES = ("Smiling", "Eyeglasses", "Wearing_Hat", "Mustache", "Mouth_Slightly_Open")


class Judge(nn.Module):
    """Three convolutions and two linear layers, one logit an attribute."""

    def __init__(self, size: int, attributes: Sequence[str] = ATTRIBUTES) -> None:
        super().__init__()
        self.attributes = tuple(attributes)
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(64 * (size // 8) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, len(attributes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) in [0, 1] -> (n, A) logits."""
        logits: Tensor = self.layers(images)
        return logits

    def learn(self, images: Tensor, table: Tensor, epochs: int = 4) -> None:
        """Learn from pictures (n, 3, H, W), bytes, and their attributes (n, A) of 0 and 1.

        Half the pictures of a batch are blurred at random, for it will judge reconstructions.
        """
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(self.parameters(), 1e-3)
        self.train()
        for _ in range(epochs):
            for index in torch.randperm(len(images)).split(64):
                batch = images[index].float() / 255
                half = len(batch) // 2
                batch[:half] = blurred(batch[:half], float(torch.empty(1).uniform_(0.3, 1.5)))
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(self(batch), table[index].float()).backward()
                optimizer.step()
        self.eval()

    @torch.no_grad()
    def sees(self, images: Tensor, attribute: str) -> Tensor:
        """Which pictures, floats in [0, 1], have an attribute, (n,) bool."""
        column = self.attributes.index(attribute)
        return torch.cat([self(part)[:, column] > 0 for part in images.split(250)])


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `sigma` pixels."""
    reach = torch.arange(-4, 5, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 9)
    padded = F.pad(images, (4, 4, 4, 4), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def price_of_a_direction(images: Tensor) -> dict[str, int]:
    """How many principal directions of pictures (n, 3, H, W) in [0, 1] are worth their KL, by the lectures' beta.

    A linear VAE with noise variance D / (2 beta) uses those whose variance exceeds it (Tipping & Bishop; Lucas et al.,
    "Don't blame the ELBO", 2019).
    """
    flat = images.flatten(1) - images.flatten(1).mean(0)
    variances = torch.linalg.eigvalsh(flat @ flat.T / len(flat))
    return {
        f"beta_{beta}": int((variances > flat.shape[1] / (2 * beta)).sum())
        for beta in (2000, 20_000, 50_000)
    }


def shifted(code: Tensor, vector: Tensor, alphas: Sequence[float]) -> Tensor:
    """The code plus each multiple of a vector."""
    return code + torch.tensor(alphas)[:, None] * vector


def share(flags: Tensor) -> float:
    """Share of true values."""
    return float(flags.float().mean())


def rounded(value: Any) -> Any:
    """Numbers to five digits, at any depth."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
