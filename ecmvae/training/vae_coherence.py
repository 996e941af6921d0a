"""Coherence of a trained multimodal model: classifiers of the real images read the labels of generated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ecmvae.data.mnist import LabelledImages
from ecmvae.training.vae_data import Samples, as_float
from ecmvae.training.vae_model import TrainedVAE
from ecmvae.vae.classic import mlp_classifier
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.multimodal.coherence import Labeller, coherence, labels_of
from ecmvae.vae.zoo import ATTRIBUTES, batch_for

CLASSIFIER_IMAGES = 10_000
"""A classifier learns from at most so many training images."""


def coherence_scores(
    model: MultimodalVAE, images: LabelledImages, limit: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Joint and conditional coherence on the test images, and what the classifiers that read them know.

    Args:
        model: In eval mode, of the modalities that `batch_for` makes of the images.
        images: Training images teach the classifiers, test images are given to the model.
        limit: Use only the first so many test images.
        seed: Of the classifiers and of the joint samples.

    Returns:
        ``classifier_accuracy`` by modality on real test images, ``joint_coherence``, ``conditional_coherence`` by
        "given -> target", and ``cross_modal_coherence``, its mean over targets that are not given, by the number of
        given modalities.
    """
    labels = images.test_labels[:limit]
    test = batch_for(model, images.test_images[:limit], labels)
    labellers = labellers_for(model, images, seed)
    generator = torch.Generator().manual_seed(seed)
    report = coherence(model, test, labels, labellers, generator=generator)
    known = {
        name: (labels_of(labellers[name], x, name) == labels).float().mean().item()
        for name, x in test.items()
    }
    return {
        "classifier_accuracy": {name: round(share, 4) for name, share in known.items()},
        "joint_coherence": round(report.joint, 4),
        "cross_modal_coherence": {
            str(given): round(report.cross_modal(given), 4) for given in range(1, len(model.names))
        },
        "conditional_coherence": {
            f"{' + '.join(given)} -> {target}": round(share, 4)
            for given, table in report.conditional.items()
            for target, share in table.items()
        },
    }


def labellers_for(
    model: MultimodalVAE, images: LabelledImages, seed: int = 0
) -> dict[str, Labeller]:
    """What reads the class of each modality: a classifier of the training images, or the label itself."""
    labels = images.train_labels[:CLASSIFIER_IMAGES]
    train = batch_for(model, images.train_images[:CLASSIFIER_IMAGES], labels)
    return {
        name: _most_probable if name == "label" else _classifier(x, labels, seed)
        for name, x in train.items()
    }


def _most_probable(probabilities: Tensor) -> Tensor:
    return probabilities.argmax(1)


def _classifier(x: Tensor, labels: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """A fully connected network, trained on images (n, *event)."""
    network = mlp_classifier(x.flatten(1).numpy(), labels.numpy(), seed)
    return lambda images: torch.from_numpy(network(images.flatten(1).numpy()))


@torch.no_grad()
def attribute_scores(
    trained: TrainedVAE, train: Samples, test: Samples, seed: int = 0
) -> dict[str, Any]:
    """Does a model of pictures and attributes carry the attributes from one to the other?

    Args:
        trained: A multimodal model of single pictures.
        train: Teaches a classifier of each attribute.
        test: Is given to the model.
        seed: Of the classifiers.

    Returns:
        ``attributes``: for each modality of attributes the share of values that are right: ``from_picture`` (the model
        is given the picture), ``to_picture`` (it is given all attributes, and a classifier of real pictures reads its
        picture), and ``classifier``, what that classifier knows of real test pictures.
    """
    model = trained.model
    assert isinstance(model, MultimodalVAE)
    train = train.take(slice(0, CLASSIFIER_IMAGES))
    real, batch = as_float(train.images), trained.batch(test)
    names = list(test.conditions)
    drawn = model.generate({name: batch[name] for name in names}, ["image"])["image"].cpu()
    guessed = model.generate({"image": batch["image"]}, names)
    scores = {}
    for name in names:
        truth = _values(test.conditions[name], name)
        taught = _values(train.conditions[name], name)
        readers = [_classifier(real, taught[:, column], seed) for column in range(taught.shape[1])]
        known, seen = (
            torch.stack([read(x) for read in readers], 1) for x in (as_float(test.images), drawn)
        )
        shares = {
            "from_picture": _values(guessed[name].cpu(), name),
            "to_picture": seen,
            "classifier": known,
        }
        scores[name] = {
            key: round((each == truth).float().mean().item(), 4) for key, each in shares.items()
        }
    return {"attributes": scores}


def _values(table: Tensor, modality: str) -> Tensor:
    """Columns of class numbers (n, F): each attribute, or the one class that a table of K values stands for."""
    return (table > 0.5).long() if modality == ATTRIBUTES else table.argmax(1)[:, None]
