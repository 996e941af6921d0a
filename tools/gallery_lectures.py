"""Gallery sections of the lectures' own figures: mixtures, the bound, codes against the prior, homework, anomalies."""

from __future__ import annotations

from functools import partial

import torch
from gallery_models import CLOTHES, big_vae, decode, fashion_autoencoder, fashion_vae
from gallery_store import Gallery
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.data.drawn_scenes import roads, tissue
from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.folder import sample_face
from ecmvae.data.mnist import load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.latent_samplers import fit_gaussian_mixture
from ecmvae.vae.latent_space import box_samples, nearest
from ecmvae.vae.lecture_plots import (
    OneWeightModel,
    class_p_values,
    code_notes,
    elbo_figure,
    means_and_samples,
    mixture_figure,
    uniformity_p_values,
)
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.metrics import auroc, bound_report
from ecmvae.vae.outliers import outlier_scores
from ecmvae.vae.plots import figure, latent_scatter
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import codes_of
from ecmvae.visual.features import PictureFeatures


def mixture(gallery: Gallery) -> None:
    """Marginal and joint density of the lecture's three Gaussians."""
    weights, means, stds = (
        torch.tensor([0.7, 0.2, 0.1]),
        torch.tensor([-1.0, 2.0, 5.0]),
        torch.tensor([0.5, 1.0, 0.3]),
    )
    drawn = mixture_figure(
        *(each.double() for each in (weights, means, stds)), torch.linspace(-4, 7, 500).double()
    )
    gallery.figure("mixture", drawn)
    gallery.report(
        "Pr(x) = sum over z of Pr(z) N(x; mean_z, std_z^2). The discrete z is a latent variable: the marginal on the "
        "left is the joint density on the right, summed over z.",
        mean=float((weights * means).sum()),
        variance=float((weights * (stds**2 + means**2)).sum() - (weights * means).sum() ** 2),
    )


def elbo_curves(gallery: Gallery) -> None:
    """The bound as a function of the decoder's parameter, for three encoders."""
    drawn, axis = figure(size=5)
    path = elbo_figure(axis, OneWeightModel())
    gallery.figure("elbo_curves", drawn)
    gallery.report(
        "One observation x = 2 and one decoder weight: z ~ N(0, 1), x = phi z + noise. The black curve is the "
        "log-likelihood, and no ELBO crosses it. Theta, the mean and variance of q(z|x), selects a curve: the best "
        "theta makes it touch the black one at the present phi. Phi then moves along that curve to its maximum.",
        **{f"bound_after_step_{n}": value for n, (_, value) in enumerate(path)},
    )


def codes_and_samples(gallery: Gallery) -> None:
    """Codes of clothes in black, samples in blue, and what they decode to."""
    model, data = fashion_vae(gallery), gallery.fashion
    codes = codes_of(model, {"x": data.test_images[::4]})
    samples = torch.randn(18, 2, generator=torch.Generator().manual_seed(0))
    gallery.figure("codes_and_samples", means_and_samples(codes, samples, decode(model, samples)))
    gallery.report(
        "The Keras VAE on Fashion-MNIST: new clothes are decoded from samples of N(0, I), not from codes."
    )


def p_value_classes(gallery: Gallery) -> None:
    """The unit square of p-values by class, and a test of each of ten latents."""
    model, data = fashion_vae(gallery), gallery.fashion
    with torch.no_grad():
        codes = model.encode(data.test_images[::2]).rsample(
            generator=torch.Generator().manual_seed(0)
        )
    drawn, axes = figure(1, 2, size=4.6)
    latent_scatter(axes[0], codes, data.test_labels[::2], title="codes")
    class_p_values(
        axes[1], codes, data.test_labels[::2], title="the same as p-values", names=CLOTHES
    )
    gallery.figure("p_value_classes", drawn)
    with torch.no_grad():
        ten = (
            big_vae(gallery)
            .encode(gallery.mnist.test_images)
            .rsample(generator=torch.Generator().manual_seed(0))
        )
    gallery.report(
        "Phi(z) of each latent is uniform where the codes follow the prior, so that the square is filled evenly and "
        "each class, a tenth of the data, takes about a tenth of its area (not yet so after five epochs). Below: "
        "Kolmogorov-Smirnov tests of the ten latents of the MNIST VAE. With 200 codes eight of the ten differ from "
        "it at the 5 % level, with 10,000 all do: the aggregate posterior of a trained VAE is near the prior and "
        "never equal to it.",
        ten_p_values_with_200_codes=uniformity_p_values(ten[:200]).tolist(),
        ten_p_values_with_10000_codes=uniformity_p_values(ten).tolist(),
    )


def three_notes(gallery: Gallery) -> None:
    """What the lecture notes about an autoencoder's latent space, measured beside the VAE's."""
    data, numbers = gallery.fashion, {}
    test, labels = data.test_images[::2], data.test_labels[::2]
    drawn, axes = figure(1, 2, size=4.6)
    for axis, model, name in zip(
        axes,
        (fashion_autoencoder(gallery), fashion_vae(gallery)),
        ("autoencoder", "VAE"),
        strict=True,
    ):
        generator = torch.Generator().manual_seed(0)
        codes = codes_of(model, {"x": test})
        samples = torch.randn(5000, 2, generator=generator)
        if isinstance(model, VAE):
            with torch.no_grad():
                codes = model.encode(test).rsample(generator=generator)
        else:
            samples = box_samples(codes, 5000, generator)
        latent_scatter(axis, codes, labels, title=name)
        notes = code_notes(codes, labels, samples)
        numbers |= {
            f"{name}_1_largest_class_area_over_smallest": notes.area_ratio,
            f"{name}_2_distance_of_the_mean_code_from_0": notes.offset,
            f"{name}_2_largest_absolute_code": notes.extent,
            f"{name}_3_samples_that_fall_into_gaps": notes.gap_share,
        }
    gallery.figure("three_notes", drawn)
    gallery.report(
        "The lecture's three notes on the autoencoder of Fashion-MNIST: 1. some classes take a small area and others "
        "a large one; 2. the codes are not symmetrical about 0 and not bounded; 3. there are large gaps. Samples are "
        "drawn evenly from the box of the autoencoder's codes, and from the VAE's prior; one is in a gap when it is "
        "further from every code than 95 % of the codes are from their nearest neighbour.",
        **numbers,
    )


def embedding(gallery: Gallery) -> None:
    """1,280 numbers of a trained network for each face, and the nearest faces."""
    looks = [sample_face(0, number) for number in range(400)]
    pixels = [torch.from_numpy(draw_face(look, variation, 64).copy()) for look, variation in looks]
    faces = torch.stack(pixels).movedim(-1, 1).float() / 255
    network = PictureFeatures()
    codes = torch.cat([network(part) for part in faces.split(50)])
    found = nearest(codes[:5], codes, 7)[1]
    gallery.grid(
        "embedding",
        faces[found],
        "Nearest by 1,280 numbers of EfficientNet-Lite0",
        [f"query {n}" for n in range(1, 6)],
        ["query", *(str(n) for n in range(1, 7))],
    )
    every = nearest(codes, codes, 2)[1][:, 1]
    agreement = {
        name: sum(
            look.words[name] == looks[int(other)][0].words[name]
            for (look, _), other in zip(looks, every, strict=True)
        )
        / len(looks)
        for name in ("Hair", "Skin", "Pose", "Mouth")
    }
    gallery.report(
        "A network that was trained to classify photographs turns a picture into about 1,000 numbers: "
        "EfficientNet-Lite0 (ImageNet weights of the Python package) gives 1,280 before its classifier. The drawn "
        "faces nearest to five of them in that space; and how often a face and its nearest neighbour agree in a "
        "factor, among 400.",
        numbers_for_each_picture=codes.shape[1],
        **{f"nearest_has_the_same_{name}": share for name, share in agreement.items()},
    )


def batch_size(gallery: Gallery) -> None:
    """Four batch sizes at equal epochs and at equal steps, three seeds each, on 8x8 digits."""
    data = load_images("digits")
    sizes, seeds = (15, 50, 150, 500), range(3)
    drawn, axis = figure(size=4.5)
    numbers = {}
    for name, steps_for in (
        ("equal epochs (20)", lambda size: 20 * 1500 // size),
        ("equal steps (600)", lambda size: 600),
    ):
        means, spreads = [], []
        for size in sizes:
            bounds = [
                _after(data.train_images, data.test_images, size, steps_for(size), seed)
                for seed in seeds
            ]
            means.append(sum(bounds) / len(bounds))
            spreads.append(max(bounds) - min(bounds))
            key = f"{name.partition(' (')[0]}_batch_{size}".replace(" ", "_")
            numbers[key] = (
                f"-ELBO {means[-1]:.2f} nats (range {spreads[-1]:.2f}) after {steps_for(size)} steps"
            )
        axis.errorbar(sizes, means, [s / 2 for s in spreads], marker="o", capsize=3, label=name)
    axis.set(
        xscale="log",
        xlabel="batch size",
        ylabel="test -ELBO (nats)",
        title="64-64-8 on 1,500 digits",
    )
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_xticks([], minor=True)
    axis.legend()
    gallery.figure("batch_size", drawn)
    gallery.report(
        "The homework asks which batch size is best. At equal epochs the small batches win, because they take more "
        "steps: 2,000 of 15 digits against 60 of 500. At equal steps the order turns round, because a large batch has "
        "seen more digits and its gradient is less noisy. Adam at 1e-3 throughout, three seeds each, bars from the "
        "smallest to the largest.",
        **numbers,
    )


def tissue_lesions(gallery: Gallery) -> None:
    """A VAE of healthy tissue: is a picture unusual, and where?"""
    model = _gaussian_vae(gallery, "tissue", tissue(2000, seed=0)[0], 8)
    healthy, (ill, masks) = tissue(500, seed=1)[0], tissue(500, lesions=True, seed=2)
    maps = {name: error_map(model, images) for name, images in (("healthy", healthy), ("ill", ill))}
    scores = torch.cat([outlier_scores(model, healthy), outlier_scores(model, ill)])
    with torch.no_grad():
        rebuilt = model.reconstruct(ill[:10])
    strip = maps["ill"][:10] / maps["ill"].flatten(1).amax(1)[:10, None, None, None]
    gallery.grid(
        "tissue_lesions",
        torch.stack([ill[:10], rebuilt, strip, masks[:10]]),
        "Tissue with a lesion, seen by a VAE of healthy tissue",
        ["picture", "reconstruction", "where: error", "true lesion"],
        [str(n) for n in range(1, 11)],
        scale=2,
    )
    peaks = maps["ill"].flatten(1).argmax(1)
    gallery.report(
        "Drawn tissue. The VAE has seen 2,000 healthy pictures and rebuilds every picture as a healthy one; the "
        "squared error, averaged over 3 x 3 pixels, shows where the lesion is, and -ELBO says which picture has one.",
        AUROC_of_the_picture_by_ELBO=auroc(scores, torch.arange(1000) >= 500),
        AUROC_of_the_pixel_by_error=auroc(maps["ill"].flatten(), masks.flatten().bool()),
        largest_error_lies_in_the_lesion=float(masks.flatten(1).gather(1, peaks[:, None]).mean()),
    )


def road_scenes(gallery: Gallery) -> None:
    """A VAE of ordinary roads: new scenes, and rare ones."""
    ordinary = roads(2000, size=24, seed=0)[0]
    model = _road_vae(gallery, "roads", ordinary)
    fog, obstacle = (roads(500, size=24, unusual=word, seed=2)[0] for word in ("fog", "obstacle"))
    test = roads(500, size=24, seed=1)[0]
    with torch.no_grad():
        mixture = fit_gaussian_mixture(codes_of(model, {"x": ordinary}), components=5)
        z = mixture.sample(10, torch.empty(0), torch.Generator().manual_seed(0))
        new = model.decode(z).clamp(0, 1)
    gallery.grid(
        "road_scenes",
        torch.stack([test[:10], new, fog[:10], obstacle[:10]]),
        "Drawn roads",
        ["ordinary", "generated", "fog", "obstacle"],
        [str(n) for n in range(1, 11)],
        scale=2,
    )
    scores = {
        name: outlier_scores(model, images)
        for name, images in (("", test), ("fog", fog), ("obstacle", obstacle))
    }
    taught = torch.cat([ordinary, roads(200, size=24, unusual="fog", seed=3)[0]])
    more = _road_vae(gallery, "roads_and_fog", taught)
    labels = torch.arange(1000) >= 500
    gallery.report(
        "A VAE of 2,000 ordinary road scenes generates new ones, from a mixture fitted to its codes, and scores rare "
        "ones by -ELBO. Trained with 200 foggy scenes as well, it no longer finds fog unusual.",
        AUROC_of_fog=auroc(torch.cat([scores[""], scores["fog"]]), labels),
        AUROC_of_an_obstacle=auroc(torch.cat([scores[""], scores["obstacle"]]), labels),
        fog_costs_in_nats_before_and_after=[
            float(scores["fog"].mean()),
            float(outlier_scores(more, fog).mean()),
        ],
    )


@torch.no_grad()
def error_map(model: VAE, images: Tensor) -> Tensor:
    """Squared error of the reconstruction, averaged over 3x3 pixels, (n, 1, H, W)."""
    error = (images - model.reconstruct(images)).square().mean(1, keepdim=True)
    return F.avg_pool2d(error, 3, 1, 1)


def _gaussian_vae(gallery: Gallery, name: str, images: Tensor, latents: int) -> VAE:
    """A fully connected VAE with Gaussian pixels, 20 epochs."""
    torch.manual_seed(0)
    model = mlp_vae(tuple(images.shape[1:]), 128, latents, likelihood=GaussianLikelihood(0.01))
    how = FitSettings(epochs=20, batch_size=50, learning_rate=2e-3)
    kept = gallery.kept(name, model, partial(fit, model, {"x": images}, how, progress=False))
    assert isinstance(kept, VAE)
    return kept


def _road_vae(gallery: Gallery, name: str, images: Tensor) -> VAE:
    """The same with batch norm on the pixels, which all lie near their mean, and 60 epochs."""
    torch.manual_seed(0)
    values = images[0].numel()
    encoder = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(values), MLPEncoder(values, (64,)), GaussianHead(64, 6)
    )
    decoder = MLPDecoder(6, (64,), tuple(images.shape[1:]))
    model = VAE(encoder, decoder, 6, likelihood=GaussianLikelihood(0.01))
    how = FitSettings(epochs=60, batch_size=50, learning_rate=2e-3)
    kept = gallery.kept(name, model, partial(fit, model, {"x": images}, how, progress=False))
    assert isinstance(kept, VAE)
    return kept


def _after(train: Tensor, test: Tensor, batch_size: int, steps: int, seed: int) -> float:
    """Test -ELBO after so many steps of Adam."""
    torch.manual_seed(seed)
    model = mlp_vae((1, 8, 8), 64, 8)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    order = torch.cat(
        [
            torch.randperm(1500)[: 1500 - 1500 % batch_size]
            for _ in range(-(-steps * batch_size // 1500) + 1)
        ]
    )
    for index in order.split(batch_size)[:steps]:
        optimizer.zero_grad()
        model(train[index]).loss.backward()
        optimizer.step()
    return bound_report(model.eval(), test, num_samples=20)["negative_elbo"]
