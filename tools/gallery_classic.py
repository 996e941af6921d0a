"""Gallery sections of the classic models: the lectures' tables, digit for digit."""

from __future__ import annotations

import math

import numpy as np
import torch
from gallery_store import Gallery

from ecmvae.vae.classic import NaiveBayes, PrincipalComponents
from ecmvae.vae.plots import figure

FACES = {
    "topType": {
        "NoHair": 7, "LongHairBun": 0, "LongHairCurly": 1, "LongHairStraight": 23, "ShortHairShortWaved": 1,
        "ShortHairShortFlat": 11, "ShortHairFrizzle": 7,
    },
    "hairColor": {"Black": 7, "Blonde": 6, "Brown": 2, "PastelPink": 3, "Red": 8, "SilverGrey": 24},
    "clothingColor": {
        "Black": 0, "Blue01": 4, "Grey01": 10, "PastelGreen": 5, "PastelOrange": 2, "Pink": 4, "Red": 3, "White": 22,
    },
    "accessories": {"Blank": 11, "Round": 22, "Sunglasses": 17},
    "clothingType": {"Hoodie": 7, "Overall": 18, "ShirtScoopNeck": 19, "ShirtVNeck": 6},
}  # fmt: skip
"""Counts of the lectures' 50 faces."""

EXAMPLE = ("LongHairStraight", "Red", "White", "Round", "ShirtScoopNeck")

POINTS = np.array([[-0.5, -0.4], [-0.4, -0.1], [0.1, 0.0], [0.3, 0.3], [0.5, 0.2]])
"""The lectures' points A to E."""


def naive_bayes(gallery: Gallery) -> None:
    """The table of 50 faces, and the same model on MNIST's pixels, where it fails as the lecture says."""
    table = np.stack([np.repeat(np.arange(len(c)), list(c.values())) for c in FACES.values()], 1)
    model = NaiveBayes().fit(table, categories=[len(counts) for counts in FACES.values()])
    smooth = NaiveBayes(smoothing=1.0).fit(
        table, categories=[len(counts) for counts in FACES.values()]
    )
    row = [
        [list(counts).index(value) for counts, value in zip(FACES.values(), EXAMPLE, strict=True)]
    ]
    drawn, axes = figure(1, len(FACES), size=2.6)
    for axis, (feature, counts), theta in zip(axes, FACES.items(), model.tables, strict=True):
        axis.barh(list(counts), theta[0])
        axis.set_title(feature, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.invert_yaxis()
    gallery.figure("naive_bayes_faces", drawn)

    pixels = (gallery.mnist.train_images[:5000, 0] * 15).round().long()
    on_pixels = NaiveBayes().fit(pixels.flatten(1).numpy(), categories=[16] * 784)
    samples = on_pixels.sample(20, np.random.default_rng(0))[0].reshape(2, 10, 1, 28, 28) / 15
    gallery.grid(
        "naive_bayes_pixels",
        torch.from_numpy(samples).float(),
        "Samples of naive Bayes on MNIST's pixels",
        ["1-10", "11-20"],
        [str(n) for n in range(1, 11)],
        scale=2,
    )
    gallery.report(
        "Five features counted one by one make new faces. On pixels the same model keeps every pixel's own histogram "
        "and forgets what neighbours share: it draws noise in the shape of all digits at once.",
        combinations=math.prod(len(counts) for counts in FACES.values()),
        with_probability_above_0=math.prod(
            sum(count > 0 for count in counts.values()) for counts in FACES.values()
        ),
        p_of_the_example=f"{math.exp(model.log_prob(row)[0]):.10f} ({', '.join(EXAMPLE)})",
        the_same_with_Laplace_smoothing=f"{math.exp(smooth.log_prob(row)[0]):.10f}",
        correlation_of_neighbouring_pixels_in_the_data=_neighbour_correlation(pixels.numpy()),
        correlation_in_the_samples=_neighbour_correlation(
            on_pixels.sample(5000, np.random.default_rng(1))[0].reshape(-1, 28, 28)
        ),
    )


def pca(gallery: Gallery) -> None:
    """Five points on a line: code and reconstruction."""
    model = PrincipalComponents(1).fit(POINTS)
    sign = np.sign(model.estimator.components_[0, 0])
    codes, decoded = sign * model.encode(POINTS)[:, 0], model.decode(model.encode(POINTS))
    drawn, axis = figure(size=3.6)
    line = np.outer([-0.8, 0.8], sign * model.estimator.components_[0])
    axis.plot(*line.T, color="grey", linewidth=1)
    for name, point, image in zip("ABCDE", POINTS, decoded, strict=True):
        axis.plot(*np.stack([point, image]).T, color="C1", linewidth=1)
        axis.annotate(name, point, xytext=(4, 4), textcoords="offset points")
    axis.scatter(*POINTS.T, color="C0", zorder=3, label="points")
    axis.scatter(*decoded.T, color="C1", zorder=3, label="decoded")
    axis.set(aspect="equal")
    axis.legend(fontsize=8)
    gallery.figure("pca", drawn)
    gallery.report(
        "Encoded to one number and back; the lecture prints -.63 -.39 .09 .41 .53.",
        **{
            f"{name}_({point[0]:.2f},_{point[1]:.2f})": f"code {code:.6f}, decoded ({image[0]:.2f}, {image[1]:.2f})"
            for name, point, code, image in zip("ABCDE", POINTS, codes, decoded, strict=True)
        },
        squared_error=float(((decoded - POINTS) ** 2).sum()),
    )


def _neighbour_correlation(images: np.ndarray) -> float:
    """Mean correlation over images of horizontally neighbouring pixels in the middle, where both vary."""
    left, right = images[:, 8:20, 8:19].astype(float), images[:, 8:20, 9:20].astype(float)
    left, right = left - left.mean(0), right - right.mean(0)
    correlations = (left * right).mean(0) / np.sqrt((left**2).mean(0) * (right**2).mean(0))
    return float(correlations.mean())
