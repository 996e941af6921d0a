"""Gallery sections of the trained models: what they encode, draw, clean and translate."""

from __future__ import annotations

import torch
from gallery_store import Gallery
from torch import Tensor
from torch.nn import functional as F

from ecmvae.data.mnist import load_images
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.latent_space import box_samples, manifold_grid, morph, recall_at_k, roughness, uniformity
from ecmvae.vae.latents import active_units
from ecmvae.vae.metrics import auroc, bound_report, classifier_inception_score, feature_fid
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.plots import figure, p_value_plot
from ecmvae.vae.plots import latent_scatter as scatter
from ecmvae.vae.vae import VAE, ConditionalVAE
from ecmvae.vae.zoo import ModelSettings, codes_of

SIZES = {"hidden": 256, "latent_dim": 10}


def big_vae(gallery: Gallery) -> VAE:
    """784-256-10, 20 epochs: the model of configs/vae/mnist.yaml."""
    model = gallery.model("vae", ModelSettings(name="vae", **SIZES), 20)
    assert isinstance(model, VAE)
    return model


def big_autoencoder(gallery: Gallery) -> AutoEncoder:
    """The autoencoder of the same sizes, 10 epochs."""
    model = gallery.model("autoencoder", ModelSettings(name="autoencoder", **SIZES), 10)
    assert isinstance(model, AutoEncoder)
    return model


def flat_pair(gallery: Gallery) -> tuple[AutoEncoder, VAE]:
    """Autoencoder and VAE with two latents, 784-512-2, 10 epochs."""
    settings = {"hidden": 512, "latent_dim": 2}
    autoencoder = gallery.model("autoencoder_2d", ModelSettings(name="autoencoder", **settings), 10)
    variational = gallery.model("vae_2d", ModelSettings(name="lecture_vae", **settings), 10)
    assert isinstance(autoencoder, AutoEncoder)
    assert isinstance(variational, VAE)
    return autoencoder, variational


@torch.no_grad()
def decode(model: AutoEncoder | VAE, codes: Tensor) -> Tensor:
    """Mean images of codes (..., L) -> (..., 1, 28, 28)."""
    images = model.likelihood.mean(model.decode(codes.reshape(-1, codes.shape[-1]).float()))
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


def vae(gallery: Gallery) -> None:
    """Bounds on the test set, and reconstructions."""
    model, test = big_vae(gallery), gallery.mnist.test_images
    with torch.no_grad():
        gallery.grid("vae_reconstructions", torch.stack([test[:10], model.reconstruct(test[:10])]), scale=2)
    numbers = bound_report(model, test)
    units = active_units(codes_of(model, {"x": test}))
    gallery.report(
        "784-256-10, 60,000 grey digits as Bernoulli means, 20 epochs of Adam 1e-3, batch 100. Test digits above, "
        "their reconstructions below. Nats per digit over the 10,000 test digits; the importance-weighted bound is the "
        "nearer one to -log p(x), as it must be.",
        **{key.replace("negative_", "-").replace("_50", "_(50_samples)"): value for key, value in numbers.items()},
        active_latents=int(units.sum()),
    )


def latent_scatter(gallery: Gallery) -> None:
    """Codes of the test digits by class."""
    test, labels = gallery.mnist.test_images, gallery.mnist.test_labels
    drawn, axes = figure(1, 2, size=5)
    numbers: dict[str, object] = {}
    for axis, model, name in zip(axes, flat_pair(gallery), ("autoencoder", "VAE"), strict=True):
        codes = codes_of(model, {"x": test})
        scatter(axis, codes[:5000], labels[:5000], title=name)
        numbers[f"{name}_extent_(min_to_max)"] = [float(codes.min()), float(codes.max())]
        numbers[f"{name}_nearest_neighbour_has_the_same_class"] = recall_at_k(
            codes[:2000], labels[:2000], codes[2000:], labels[2000:]
        )
        numbers[f"{name}_change_of_the_image_for_a_step_of_0.1_spreads"] = roughness(
            lambda z, model=model: decode(model, z),
            codes[:2000],
            0.1 * float(codes.std(0).mean()),
            torch.Generator().manual_seed(0),
        )
    gallery.figure("latent_scatter", drawn)
    gallery.report(
        "The autoencoder spreads its codes as it likes, with gaps between; the VAE's fill the unit normal.", **numbers
    )


def manifold(gallery: Gallery) -> None:
    """Decoded grid at equal prior mass."""
    gallery.grid("manifold", decode(flat_pair(gallery)[1], manifold_grid(20)))
    gallery.report(
        "Two latents, 20 x 20 codes at the inverse normal CDF of an even grid: equal prior mass for each image."
    )


def morphs(gallery: Gallery) -> None:
    """Straight lines between the codes of test digits."""
    model, test = big_vae(gallery), gallery.mnist.test_images
    codes = codes_of(model, {"x": test[:10]})
    rows = [morph(codes[i], codes[i + 5], torch.linspace(0, 1, 11)) for i in range(5)]
    gallery.grid("morphs", decode(model, torch.stack(rows)), scale=2)
    gallery.report("From one test digit to another in eleven even steps of (1 - a) z1 + a z2.")


def denoising(gallery: Gallery) -> None:
    """Clean, noisy, denoised."""
    settings = ModelSettings(name="autoencoder", hidden=256, latent_dim=32, noise_std=0.5)
    model, test = gallery.model("denoising", settings, 10), gallery.mnist.test_images
    assert isinstance(model, AutoEncoder)
    noisy = test + 0.5 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clean = model.reconstruct(noisy)
    gallery.grid("denoising", torch.stack([test[:12], noisy[:12].clamp(0, 1), clean[:12]]), scale=2)
    gallery.report(
        "A digit, the same with Gaussian noise of 0.5, and what the denoising autoencoder makes of it.",
        mean_squared_error_noisy=float(((noisy - test) ** 2).mean()),
        mean_squared_error_denoised=float(((clean - test) ** 2).mean()),
    )


def samples(gallery: Gallery) -> None:
    """New digits of both, and how near they are to real ones in the judge's feature space."""
    test, features = gallery.mnist.test_images, gallery.judge.features
    numbers: dict[str, float] = {}
    for latents, pair in ((2, flat_pair(gallery)), (10, (big_autoencoder(gallery), big_vae(gallery)))):
        autoencoder, model = pair
        generator = torch.Generator().manual_seed(0)
        codes = codes_of(autoencoder, {"x": gallery.mnist.train_images})
        boxed = decode(autoencoder, box_samples(codes, 10_000, generator))
        with torch.no_grad():
            drawn = model.sample(10_000, generator).reshape(boxed.shape)
        gallery.grid(
            f"samples_{latents}_latents", torch.cat([boxed[:24], drawn[:24]]).reshape(4, 12, 1, 28, 28), scale=2
        )
        for name, images in (("autoencoder", boxed), ("VAE", drawn)):
            numbers[f"frechet_distance_{name}_{latents}_latents"] = feature_fid(test, images, features)
            numbers[f"inception_score_{name}_{latents}_latents"] = classifier_inception_score(images, gallery.judge)
    gallery.report(
        "Two rows of an autoencoder that decodes codes drawn evenly from the box its training codes span, then two of "
        "a VAE of the same size that decodes its prior; first with two latents, as in the lecture, then with ten. "
        "Frechet distance in the feature space of a small digit classifier, 10,000 each: lower is nearer to real "
        "digits, and only numbers of this table compare. With two latents the VAE is nearer; with ten the sharper "
        "strokes of the autoencoder outweigh its misfits for this judge.",
        **numbers,
        frechet_distance_training_digits=feature_fid(test, gallery.mnist.train_images[:10_000], features),
        inception_score_test_digits=classifier_inception_score(test, gallery.judge),
    )


def conditional(gallery: Gallery) -> None:
    """p(x|z, y): one row a style, one column a class; read back by the judge."""
    plain, model = (
        gallery.model(f"conditional_{beta}", ModelSettings(name="conditional_vae", hidden=512, beta=beta), epochs)
        for beta, epochs in ((1.0, 20), (4.0, 8))
    )
    assert isinstance(plain, ConditionalVAE)
    assert isinstance(model, ConditionalVAE)
    styles = torch.randn(8, 10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        pairs = model.decode(styles.repeat_interleave(10, 0), torch.eye(10).repeat(8, 1))
        gallery.grid("conditional", pairs.sigmoid().reshape(8, 10, 1, 28, 28), scale=2)
        labels = torch.arange(10_000) % 10
        classes = F.one_hot(labels, 10).float()
        drawn, drawn_plain = (each.sample(classes, torch.Generator().manual_seed(0)) for each in (model, plain))
    gallery.report(
        "Each row is one latent, each column one class: the style stays, the digit changes. Beta 4, eight epochs: the "
        "heavier KL brings the codes nearer to the prior that the samples come from. At beta 1 (20 epochs) more codes "
        "lie where no digit was, and fewer samples are read back as what was ordered.",
        recognised_as_their_class_by_an_independent_classifier=gallery.recognised(drawn, labels),
        the_same_at_beta_1=gallery.recognised(drawn_plain, labels),
        the_classifier_on_real_test_digits=gallery.recognised(gallery.mnist.test_images, gallery.mnist.test_labels),
        generated_digits=len(labels),
    )


def beta(gallery: Gallery) -> None:
    """Reconstruction, KL and latents in use against the weight of the KL."""
    images, test = gallery.mnist.train_images[:10_000], gallery.mnist.test_images[:2000]
    weights, rows, numbers = (0.25, 1.0, 4.0, 16.0), [], {}
    for weight in weights:
        settings = ModelSettings(name="vae", beta=weight, **SIZES)
        model = gallery.model(f"beta_{weight}", settings, 10, images=images)
        assert isinstance(model, VAE)
        report = bound_report(model, test, num_samples=1)
        units = int(active_units(codes_of(model, {"x": test})).sum())
        numbers[f"beta_{weight:g}"] = (
            f"reconstruction {report['reconstruction']:.1f}, KL {report['kl']:.1f}, "
            f"-ELBO {report['negative_elbo']:.1f} nats, {units} active latents"
        )
        with torch.no_grad():
            rows += [torch.cat([model.reconstruct(test[:6]), model.sample(6, torch.Generator().manual_seed(0))])]
    gallery.grid("beta", torch.stack(rows), scale=2)
    gallery.report(
        f"Rows: beta {', '.join(f'{w:g}' for w in weights)}. Left six reconstructions, right six samples. A light KL "
        "reconstructs well and samples badly; a heavy one turns latents off. 10,000 digits, 10 epochs each.",
        **numbers,
    )


def multimodal(gallery: Gallery) -> None:
    """Image and class as two modalities: each generated from the other, for three ways to join experts."""
    test, labels = gallery.mnist.test_images, gallery.mnist.test_labels
    rows, numbers = [], {}
    for name in ("mvae", "mopoe", "jmvae"):
        settings = ModelSettings(name=name, latent_dim=16, label_weight=50.0)  # type: ignore[arg-type]
        model = gallery.model(name, settings, 6, images=gallery.mnist.train_images[:10_000])
        assert isinstance(model, MultimodalVAE)
        with torch.no_grad():
            guessed = model.generate({"image": test}, ["label"])["label"].argmax(1)
            wanted = torch.arange(1000) % 10
            torch.manual_seed(0)
            z = model.joint({"label": F.one_hot(wanted, 10).float()}).rsample()
            drawn = model.likelihood("image").mean(model.decoders["image"](z))
        rows.append(drawn[:10])
        numbers[f"{name}_class_from_image"] = float((guessed == labels).float().mean())
        numbers[f"{name}_image_from_class_recognised"] = gallery.recognised(drawn, wanted)
    gallery.grid("multimodal", torch.stack(rows), scale=2)
    gallery.report(
        "One image for each class, drawn from q(z | class): product of experts (MVAE), mixture of products (MoPoE), "
        "joint encoder (JMVAE). Six epochs each on 10,000 digits.",
        **numbers,
    )


def fashion(gallery: Gallery) -> None:
    """Keras' convolutions with their own padding: reconstructions and prior samples."""
    data = load_images("fashion")
    train, test = F.pad(data.train_images, (2, 2, 2, 2)), F.pad(data.test_images, (2, 2, 2, 2))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:6000]
    settings = ModelSettings(name="keras_vae", latent_dim=2)
    model = gallery.model("fashion", settings, 5, images=train[chosen], labels=data.train_labels[chosen])
    assert isinstance(model, VAE)
    index = torch.arange(10) * 1000
    with torch.no_grad():
        rows = [test[index], model.reconstruct(test[index]), model.sample(10, torch.Generator().manual_seed(0))]
        codes = model.encode(test)
    gallery.grid("fashion", torch.stack(rows), scale=2)
    drawn, axes = figure(1, 2, size=4.5)
    scatter(axes[0], codes.mean[::2], data.test_labels[::2], title="codes of test clothes")
    z = codes.rsample(generator=torch.Generator().manual_seed(0))
    p_value_plot(axes[1], z, title="p-values of the codes")
    gallery.figure("fashion_latent", drawn)
    held_out = data.test_labels == 9
    gallery.report(
        "Three strided convolutions, two latents, five epochs on 6,000 pictures. Rows: one test picture a class, its "
        "reconstruction, prior samples.",
        **bound_report(model, test[::10], num_samples=50),
        distance_of_p_values_from_uniform=[float(v) for v in uniformity(z)],
        KL_tells_boots_from_the_rest_AUROC=auroc(codes.kl().detach(), held_out),
    )
