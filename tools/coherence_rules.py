"""How should a mixture of experts generate from several modalities? Compares four answers by their coherence.

    python tools/coherence_rules.py mmvae mmjsd mmvae_plus

Trains each family on five pictures of one digit and prints, for 1, 2 and 4 given pictures, how often the others are
generated with the right class: from the product of the given experts, the product with the prior, the mixture's mean,
and the first expert alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch

from ecmvae.data.mnist import load_images
from ecmvae.training.vae_coherence import labellers_for
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts
from ecmvae.vae.mixtures import GaussianMixture
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.multimodal.base import MaskedBatch
from ecmvae.vae.multimodal.coherence import coherence
from ecmvae.vae.zoo import ModelSettings, batch_for, build_vae

GIVEN = (1, 2, 4)


def product(model: MultimodalVAE, batch: MaskedBatch, include_prior: bool) -> DiagonalGaussian:
    """The product of the given experts, with or without N(0, I)."""
    return product_of_experts(list(model.encode(batch).values()), include_prior, batch.present)


def at(model: MultimodalVAE, batch: MaskedBatch, point: str) -> DiagonalGaussian:
    """A Gaussian around the mixture's mean, or around its heaviest component, the first of equals."""
    mixture = model.joint_of(batch)
    assert isinstance(mixture, GaussianMixture)
    place = getattr(mixture, point)
    return DiagonalGaussian(place, torch.zeros_like(place))


RULES: dict[str, Callable[[MultimodalVAE, MaskedBatch], DiagonalGaussian]] = {
    "product": partial(product, include_prior=False),
    "product with the prior": partial(product, include_prior=True),
    "mean of the mixture": partial(at, point="mean"),
    "first expert": partial(at, point="mode"),
}


def compare(name: str, epochs: int, seed: int) -> None:
    """Train one family and print a line for each rule."""
    images = load_images("poly_digits")
    torch.manual_seed(seed)
    settings = ModelSettings(name=name, latent_dim=16, hidden=256)  # type: ignore[arg-type]
    model = build_vae(settings, tuple(images.train_images.shape[1:]))
    assert isinstance(model, MultimodalVAE)
    train = batch_for(model, images.train_images, images.train_labels)
    fit(model, train, FitSettings(epochs=epochs, seed=seed, device="cpu"), progress=False)
    test, labellers = (
        batch_for(model, images.test_images, images.test_labels),
        labellers_for(model, images, seed),
    )
    names = model.names
    subsets = [
        [names[(i + j) % len(names)] for j in range(size)]
        for size in GIVEN
        for i in range(len(names))
    ]
    for rule, united in RULES.items():
        model.united_of = partial(united, model)  # type: ignore[method-assign]
        report = coherence(model, test, images.test_labels, labellers, subsets=subsets)
        shares = "  ".join(f"{size} given {report.cross_modal(size):.3f}" for size in GIVEN)
        print(f"{name:12s} {rule:24s} {shares}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="+", choices=["mmvae", "mmjsd", "mmvae_plus"])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.families:
        compare(name, given.epochs, given.seed)


if __name__ == "__main__":
    main()
