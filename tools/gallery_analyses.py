"""Gallery sections that ask something of the trained models: outliers, rarity, memorisation, batch size."""

from __future__ import annotations

import torch
from gallery_models import SIZES, big_vae, decode
from gallery_store import Gallery
from torchmetrics.functional.classification import binary_roc

from ecmvae.data.mnist import load_images
from ecmvae.vae.latent_space import (
    attribute_direction,
    edit,
    nearest,
    recall_at_k,
    traverse,
    uniformity,
)
from ecmvae.vae.metrics import auroc
from ecmvae.vae.outliers import OutlierThreshold, memorisation_check, outlier_scores, rarity_weights
from ecmvae.vae.plots import figure, latent_histograms
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import ModelSettings, codes_of


def histograms(gallery: Gallery) -> None:
    """Sampled codes of each of 50 latents against the prior."""
    settings = ModelSettings(name="vae", hidden=256, latent_dim=50)
    model = gallery.model("vae_50d", settings, 5, images=gallery.mnist.train_images[:10_000])
    assert isinstance(model, VAE)
    with torch.no_grad():
        codes = model.encode(gallery.mnist.test_images).rsample(
            generator=torch.Generator().manual_seed(0)
        )
    gallery.figure("histograms", latent_histograms(codes))
    distances = uniformity(codes)
    gallery.report(
        "Codes of 10,000 test digits, one draw of q(z|x) each, against the density of N(0, 1). Distances are "
        "Kolmogorov-Smirnov's, of the p-values from the uniform distribution.",
        median_distance=float(distances.median()),
        largest_distance=float(distances.max()),
    )


def editing(gallery: Gallery) -> None:
    """Encode, sample, modify, decode, sample: along the direction of stroke thickness."""
    model, train, test = big_vae(gallery), gallery.mnist.train_images, gallery.mnist.test_images
    ink = train.mean((1, 2, 3))
    codes, residual = codes_of(model, {"x": train}), ink.clone()
    for label in range(10):  # thickness within a class, not "is a zero"
        chosen = gallery.mnist.train_labels == label
        residual[chosen] -= ink[chosen].mean()
    direction = attribute_direction(
        codes[residual > residual.quantile(0.9)], codes[residual < residual.quantile(0.1)]
    )
    steps = (-2.0, -1.0, 0.0, 1.0, 2.0)
    columns = [edit(model, test[:8], lambda z, a=a: z + a * direction).images for a in steps]
    digits = [str(int(label)) for label in gallery.mnist.test_labels[:8]]
    rows = ["data", *(f"{a:+g}" for a in steps)]
    gallery.grid(
        "editing",
        torch.stack([test[:8], *columns], 1).transpose(0, 1),
        "z + a (thick - thin); rows: a",
        rows,
        digits,
        scale=2,
    )
    gallery.report(
        "The direction is the mean code of thick digits minus the mean code of thin ones; a multiple of it is added to "
        "the code of each test digit, and the sum is decoded.",
        mean_ink_of_the_five_rows=[float(images.mean()) for images in columns],
    )


def traversal(gallery: Gallery) -> None:
    """Two latents of one digit varied, the others kept."""
    model, test = big_vae(gallery), gallery.mnist.test_images
    code = codes_of(model, {"x": test[:1]})[0]
    spread = codes_of(model, {"x": test}).std(0)
    first, second = (int(i) for i in spread.topk(2).indices)
    grid = traverse(code, (first, second), torch.linspace(-3, 3, 13))
    marks = [f"{float(z):+.1f}" for z in torch.linspace(-3, 3, 13)]
    gallery.grid(
        "traversal",
        decode(model, grid),
        f"A 7: z{first + 1} down, z{second + 1} across",
        marks,
        marks,
    )
    gallery.report(
        "The code of the first test digit, a 7, with two of its ten numbers varied and the others kept."
    )


def retrieval(gallery: Gallery) -> None:
    """Nearest training digits by code."""
    model, mnist = big_vae(gallery), gallery.mnist
    queries, codes = (
        codes_of(model, {"x": mnist.test_images}),
        codes_of(model, {"x": mnist.train_images}),
    )
    found = nearest(queries[:6], codes, 9)[1]
    gallery.grid(
        "retrieval",
        torch.cat([mnist.test_images[:6, None], mnist.train_images[found]], 1),
        "Training digits with the nearest codes",
        [f"query {n}" for n in range(1, 7)],
        ["query", *(str(n) for n in range(1, 10))],
        scale=2,
    )
    some = slice(0, 2000)
    gallery.report(
        "For each test digit on the left, the nine training digits whose codes, of ten numbers each, are nearest.",
        nearest_has_the_same_class=recall_at_k(
            queries[some], mnist.test_labels[some], codes, mnist.train_labels
        ),
        by_chance=0.1,
    )


def anomaly(gallery: Gallery) -> None:
    """Ten VAEs, each without one digit: does that digit stand out?"""
    mnist, generator = gallery.mnist, torch.Generator().manual_seed(0)
    clothes = load_images("fashion").test_images[::10]
    drawn, axis = figure(size=5)
    numbers: dict[str, object] = {}
    areas, rates = [], []
    for digit in range(10):
        chosen = mnist.train_labels != digit
        chosen &= torch.arange(60_000) < 30_000
        settings = ModelSettings(name="vae", **SIZES)
        model = gallery.model(
            f"without_{digit}",
            settings,
            8,
            images=mnist.train_images[chosen],
            labels=mnist.train_labels[chosen],
        )
        assert isinstance(model, VAE)
        torch.manual_seed(0)
        calibration = outlier_scores(
            model, mnist.train_images[50_000:][mnist.train_labels[50_000:] != digit][:5000]
        )
        scores, outlier = outlier_scores(model, mnist.test_images), mnist.test_labels == digit
        areas.append(auroc(scores, outlier))
        rates.append(
            float(
                OutlierThreshold.calibrate(calibration, 0.05).flag(scores[~outlier]).float().mean()
            )
        )
        ranks = scores.argsort().argsort() / len(scores)
        false_positive, true_positive, _ = binary_roc(ranks, outlier.long())
        axis.plot(false_positive, true_positive, label=f"{digit}: {areas[-1]:.3f}", linewidth=1)
    noise = torch.rand(1000, 1, 28, 28, generator=generator)
    inliers = outlier_scores(model, mnist.test_images[mnist.test_labels != 9][:2000])
    for name, images in (("clothes_of_Fashion-MNIST", clothes), ("noise", noise)):
        scores = torch.cat([inliers, outlier_scores(model, images)])
        numbers[f"AUROC_of_{name}"] = auroc(scores, torch.arange(len(scores)) >= len(inliers))
    axis.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    axis.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title="-ELBO of a digit never seen",
    )
    axis.legend(fontsize=7)
    gallery.figure("anomaly", drawn)
    gallery.report(
        "Each VAE (784-256-10, 8 epochs on the first 30,000 digits) has never seen one digit. The score is -ELBO, in "
        "nats. It measures how costly a picture is to code, not how new it is: a digit made of familiar strokes, such "
        "as a 9, is not flagged, and a 1, a single bar of ink, is cheaper than any other. Clothes and noise stand out.",
        **{f"AUROC_without_{digit}": area for digit, area in enumerate(areas)},
        mean_AUROC=sum(areas) / 10,
        digits_above_0_9=sum(area > 0.9 for area in areas),
        false_positive_rate_at_a_threshold_set_for_5_percent=[min(rates), max(rates)],
        **numbers,
    )


def debiasing(gallery: Gallery) -> None:
    """Rarity weights on 20,000 digits: which digits they favour."""
    model, mnist = big_vae(gallery), gallery.mnist
    images = mnist.train_images[:20_000]
    weights = rarity_weights(codes_of(model, {"x": images}))
    order, ink = weights.argsort(descending=True), images.mean((1, 2, 3))
    gallery.grid(
        "debiasing",
        torch.stack([images[order[:12]], images[order[-12:]]]),
        "Digits with the largest and smallest weights",
        ["largest", "smallest"],
        [str(n) for n in range(1, 13)],
        scale=2,
    )
    thick, thin = ink > ink.quantile(0.98), mnist.train_labels[:20_000] == 1
    gallery.report(
        "The weights are inversely proportional to the product of the latents' histograms, so that pictures with rare "
        "codes, here thick strokes, are drawn more often. That does not cure every imbalance: ones, whose codes lie in "
        "the middle, are drawn less often than before.",
        share_of_the_2_percent_thickest_when_drawn_by_weight=float(
            weights[thick].sum() / weights.sum()
        ),
        share_of_ones_in_the_data=float(thin.float().mean()),
        share_of_ones_when_drawn_by_weight=float(weights[thin].sum() / weights.sum()),
        mean_weight=float(weights.mean()),
    )


def memorisation(gallery: Gallery) -> None:
    """Are samples nearer to the training data than test digits are? And the extreme case: ten digits by heart."""
    mnist, model = gallery.mnist, big_vae(gallery)
    train = mnist.train_images[:20_000]
    with torch.no_grad():
        samples = model.sample(2000, torch.Generator().manual_seed(0))
    whole = memorisation_check(samples, train, mnist.test_images[:2000])
    ten, labels = mnist.train_images[:10], mnist.train_labels[:10]
    extreme = gallery.model(
        "ten_digits",
        ModelSettings(name="vae", beta=0.1, **SIZES),
        3000,
        images=ten,
        labels=labels,
        batch_size=10,
    )
    assert isinstance(extreme, VAE)
    with torch.no_grad():
        codes = extreme.encode(ten).rsample(20, torch.Generator().manual_seed(0)).flatten(0, 1)
        copies = decode(extreme, codes)
        drawn = extreme.sample(10, torch.Generator().manual_seed(0))
    ten_check = memorisation_check(copies, ten, mnist.test_images[:2000])
    gallery.grid(
        "memorisation",
        torch.stack([ten, copies[:10], drawn]),
        "A VAE that has seen ten digits only",
        ["training", "near its code", "prior sample"],
        [str(int(label)) for label in labels],
        scale=2,
    )
    gallery.report(
        "The lecture's extreme case: a VAE (beta 0.1) that was trained on ten digits only, for 3,000 epochs, returns "
        "the training digit for any code near its own, and mixtures of the ten elsewhere. The VAE of 60,000 digits "
        "does not copy: its samples are as far from their nearest training digit as test digits are. Distances in "
        "pixel space; 0.5 is what chance gives, 1 is copying.",
        samples_of_the_60000_digit_VAE_nearer_than_test_digits=whole.nearer_share,
        median_distances_samples_and_test=[whole.sample_distance, whole.test_distance],
        samples_of_the_ten_digit_VAE_nearer=ten_check.nearer_share,
        median_distances_of_the_ten_digit_VAE=[ten_check.sample_distance, ten_check.test_distance],
    )
