"""Rows on faces, factors, covariances, mixtures as figures, and outliers with a place: several documents."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ecmvae.data.drawn_scenes import roads, tissue
from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.folder import sample_face
from ecmvae.data.faces.look import Look
from ecmvae.vae.ancestral import NonlinearLatentModel
from ecmvae.vae.celeba import face_vae
from ecmvae.vae.classic import linear_classifier
from ecmvae.vae.disentanglement import beta_vae_score, mutual_information_gap
from ecmvae.vae.latent_samplers import fit_gaussian_mixture
from ecmvae.vae.latent_space import attribute_direction, morph
from ecmvae.vae.lecture_plots import (
    OneWeightModel,
    elbo_figure,
    means_and_samples,
    mixture_joint,
    uniformity_p_values,
)
from ecmvae.vae.metrics import auroc
from ecmvae.vae.multivariate import MultivariateGaussian
from ecmvae.vae.outliers import outlier_scores, rarity_weights
from ecmvae.vae.plots import figure, labelled_canvas
from ecmvae.vae.vae import VAE
from ecmvae.vae.zoo import codes_of

from .introduction import faces as naive_bayes
from .shared import decode, digits, double, gaussian, known, row, vae

SIZE = 24


@cache
def drawn() -> tuple[Tensor, dict[str, Tensor]]:
    """800 faces, and their binary attributes; the last 200 are held out."""
    looks = [sample_face(0, number) for number in range(800)]
    images = np.stack([draw_face(look, variation, SIZE) for look, variation in looks])
    flags = {
        name: torch.tensor([look.flags[name] for look, _ in looks]) for name in looks[0][0].flags
    }
    return torch.from_numpy(images).movedim(-1, 1).float() / 255, flags


@cache
def model() -> VAE:
    """A small VAE of those faces."""
    return gaussian(drawn()[0][:600], 32, 30)


def moved(attribute: str, images: Tensor, strength: float) -> Tensor:
    """Decoded faces whose codes were moved along an attribute's direction."""
    codes = codes_of(model(), {"x": drawn()[0][:600]})
    has = drawn()[1][attribute][:600]
    direction = attribute_direction(codes[has], codes[~has])
    return decode(model(), codes_of(model(), {"x": images}) + strength * direction)


def recognised(attribute: str, images: Tensor) -> float:
    """Share of faces in which a classifier that learnt from the true attribute sees it."""
    classify = linear_classifier(drawn()[0][:600].flatten(1), drawn()[1][attribute][:600])
    return float(classify(images.flatten(1)).mean())


@row(5, "000", "ten new looks, drawn", "data/faces/draw.py")
def _() -> None:
    names = {
        key: list(value) for key, value in known("seed_tables")["naive_bayes"]["counts"].items()
    }
    looks = naive_bayes().sample(10, np.random.default_rng(0))[0]
    order = ("topType", "hairColor", "clothingColor", "accessoriesType", "clothingType")
    pictures = []
    for values in looks:
        hair, colour, cloth, glasses, top = (
            names[feature][value].replace("Grey", "Gray")
            for feature, value in zip(order, values, strict=True)
        )
        look = Look(hair=hair, hair_color=colour, clothes_color=cloth, accessories=glasses, top=top)
        pictures.append(torch.from_numpy(draw_face(look, size=32).copy()))
    assert len({picture.numpy().tobytes() for picture in pictures}) == len(
        {tuple(values) for values in looks}
    )
    assert all(naive_bayes().log_prob(looks) > -np.inf)


@row(42, "001", "samples of colour pictures (CIFAR-10, LFW there; drawn faces here)", "vae/vae.py")
def _() -> None:
    with torch.no_grad():
        samples = model().sample(8, torch.Generator().manual_seed(0))
    assert samples.shape == (8, 3, SIZE, SIZE)
    assert (samples[:, 0] - samples[:, 2]).abs().mean() > 0.02  # coloured


@row(44, "001", "degree of smile, head pose", "data/faces/look.py")
def _() -> None:
    smiles = [draw_face(Look(smile=s), size=64).astype(float) for s in (-1.0, 0.0, 1.0)]
    turns = [draw_face(Look(turn=t), size=64).astype(float) for t in (-1.0, 0.0, 1.0)]
    rows = np.abs(smiles[0] - smiles[2]).sum((1, 2))
    assert rows[:30].sum() == rows[50:].sum() == 0  # the mouth alone
    # mirrored
    assert np.abs(turns[0] - turns[2][:, ::-1]).mean() < 0.2 * np.abs(turns[0] - turns[2]).mean()


@row(46, "001", "editing one factor of a picture and no other", "vae/latent_space.py")
def _() -> None:
    test = drawn()[0][600:]
    off, on = (moved("Wearing_Hat", test, s) for s in (-0.5, 1.5))
    above, below = (
        (on - off).abs()[:, :, part].mean().item() for part in (slice(0, 10), slice(14, None))
    )
    assert above > 2 * below  # the hat is above, shirt and mouth below stay


@row(53, "001", "a protocol that compares degrees of disentanglement", "vae/disentanglement.py")
def _() -> None:
    factors = torch.stack([torch.randint(0, 4, (600,)) for _ in range(3)], 1)
    straight = factors.float() + 0.05 * torch.randn(600, 3)
    turned = straight @ torch.linalg.qr(torch.randn(3, 3)).Q
    assert (
        mutual_information_gap(straight, factors)
        > 0.8
        > 0.4
        > mutual_information_gap(turned, factors)
    )
    assert beta_vae_score(straight, factors) > 0.95


@row(57, "003", "mixture of Gaussians: marginal a) and joint density b)", "vae/lecture_plots.py")
def _() -> None:
    case = known("mog_nonlinear_manifold")["mog"]
    joint = mixture_joint(*(double(case[name]) for name in ("weights", "mu", "sigma", "x")))
    np.testing.assert_allclose(joint.sum(0).numpy(), case["pdf"], atol=1e-12)
    np.testing.assert_allclose((joint / joint.sum(0)).numpy(), case["responsibilities"], atol=1e-12)


@row(
    60, "003", "the ELBO's curves: theta moves between them, phi along one", "vae/lecture_plots.py"
)
def _() -> None:
    toy, phi = OneWeightModel(), torch.linspace(0.3, 2.6, 200, dtype=torch.float64)
    path = elbo_figure(figure()[1], toy)
    # every step raises the bound
    assert [value for _, value in path] == sorted(value for _, value in path)
    for start, _ in path[::2]:
        bound = toy.elbo(phi, toy.posterior(start))
        assert (bound <= toy.log_likelihood(phi) + 1e-12).all()
        here = double([start])
        assert toy.elbo(here, toy.posterior(start)).item() == pytest.approx(
            toy.log_likelihood(here).item(), abs=1e-12
        )
    normal = stats.norm(0, np.sqrt(1.3**2 + toy.variance))
    assert toy.log_likelihood(double([1.3])).item() == pytest.approx(
        normal.logpdf(toy.observed), abs=1e-12
    )


@row(
    65,
    "003",
    "an image embedding of about 1,000 numbers from a trained network",
    "visual/features.py",
)
def _() -> None:
    from ecmvae.visual.features import PictureFeatures

    network = PictureFeatures(size=64)
    looks = [
        Look(turn=0.0),
        Look(turn=0.1),
        Look(hair="LongHairCurly", hair_color="Blonde", skin="DarkBrown"),
    ]
    pictures = torch.stack([torch.from_numpy(draw_face(look, size=64).copy()) for look in looks])
    numbers = network(pictures.movedim(-1, 1).float() / 255)
    assert numbers.shape == (3, 1280)
    near, far = (numbers[1:] - numbers[0]).norm(dim=1).tolist()
    assert near < far


@row(
    73,
    "003",
    "black dots are z_mean, blue dots are samples, with what they decode to",
    "vae/lecture_plots.py",
)
def _() -> None:
    means = codes_of(vae(), {"x": digits().test_images})
    samples = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    drawn_figure = means_and_samples(means, samples, decode(vae(), samples))
    black, blue = drawn_figure.axes[0].collections
    np.testing.assert_allclose(black.get_offsets(), means.numpy(), atol=1e-6)
    np.testing.assert_allclose(blue.get_offsets(), samples.numpy(), atol=1e-6)
    cells = drawn_figure.axes[1].child_axes
    np.testing.assert_allclose(
        cells[5].images[0].get_array(), decode(vae(), samples)[5, 0].numpy(), atol=1e-6
    )
    uniform = uniformity_p_values(torch.randn(500, 10))
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.001


@row(75, "003", "the face VAE: RGB, 200 latents, batch norm, 2000", "vae/celeba.py")
def _() -> None:
    network = face_vae(32)
    x = drawn()[0][:8]
    x = torch.nn.functional.interpolate(x, 32)
    output = network(x)
    assert output.z.shape == (8, 200)
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.encoder.modules()) == 4
    before = output.loss.item()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        network(x).loss.backward()
        optimizer.step()
    assert network(x).loss.item() < before  # docs/faces.md has the command that trains it


@row(76, "003", "faces, their reconstructions, new faces", "data/faces/folder.py")
def _() -> None:
    test = drawn()[0][600:]
    with torch.no_grad():
        error = ((model().reconstruct(test) - test) ** 2).mean()
    assert error < 0.5 * ((drawn()[0][:600].mean(0) - test) ** 2).mean()
    with torch.no_grad():
        new = model().sample(6, torch.Generator().manual_seed(1))
    canvas = labelled_canvas(
        torch.stack([test[:6], model().reconstruct(test[:6]).detach(), new]),
        ("real", "rec.", "new"),
    )
    assert canvas.shape[0] == 3


@row(78, "003", "the smile vector; glasses, hats", "vae/latent_space.py")
def _() -> None:
    test = drawn()[0][600:]
    for attribute in ("Eyeglasses", "Wearing_Hat"):
        without = test[~drawn()[1][attribute][600:]]
        before, after = (recognised(attribute, moved(attribute, without, s)) for s in (0.0, 2.0))
        assert after > before + 0.1, attribute  # the face VAE at full size: docs/faces.md


@row(105, "004", "resynthesis on a grid of two attributes", "vae/latent_space.py")
def _() -> None:
    codes = codes_of(model(), {"x": drawn()[0][:600]})
    glasses, hat = (
        attribute_direction(codes[drawn()[1][name][:600]], codes[~drawn()[1][name][:600]])
        for name in ("Eyeglasses", "Wearing_Hat")
    )
    start = codes_of(model(), {"x": drawn()[0][600:601]})[0]
    steps = torch.linspace(-1, 2, 4)
    grid = start + steps[:, None, None] * glasses + steps[None, :, None] * hat
    images = decode(model(), grid.flatten(0, 1)).unflatten(0, (4, 4))
    across = (images[:, 1:] - images[:, :-1]).abs()
    assert across[..., :10, :].mean() > 1.5 * across[..., 14:, :].mean()  # columns change the hat
    corners = morph(grid[0, 0], grid[3, 3], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(corners, torch.stack([grid[0, 0], grid[3, 3]]))


@cache
def of_tissue() -> VAE:
    """A VAE that has seen healthy tissue only."""
    return gaussian(tissue(800, size=24, seed=0)[0], 8, 15)


@row(
    18, "000", "class activity: healthy tissue and tumour, and where it is", "data/drawn_scenes.py"
)
def _() -> None:
    healthy, _ = tissue(100, size=24, seed=1)
    ill, masks = tissue(100, size=24, lesions=True, seed=2)
    scores = outlier_scores(of_tissue(), torch.cat([healthy, ill]))
    assert auroc(scores, torch.arange(200) >= 100) > 0.9
    with torch.no_grad():
        error = (ill - of_tissue().reconstruct(ill)).square()
    assert auroc(error.flatten(), masks.flatten().bool()) > 0.9  # pixel by pixel
    peak = error.flatten(1).argmax(1)
    assert masks.flatten(1).gather(1, peak[:, None]).mean() > 0.8


@cache
def of_roads() -> VAE:
    """A VAE of ordinary days."""
    return gaussian(roads(600, size=24, seed=0)[0], 12, 10)


@row(28, "000", "scenarios for autonomous driving: new ones, and rare ones", "data/drawn_scenes.py")
def _() -> None:
    with torch.no_grad():
        codes = codes_of(of_roads(), {"x": roads(600, size=24, seed=0)[0]})
        z = fit_gaussian_mixture(codes, components=3).sample(
            50, torch.empty(0), torch.Generator().manual_seed(0)
        )
        new = decode(of_roads(), z)
    ordinary = roads(100, size=24, seed=1)[0]
    fog = outlier_scores(of_roads(), roads(50, size=24, unusual="fog", seed=2)[0])
    assert outlier_scores(of_roads(), new).median() < fog.median()
    scores = outlier_scores(
        of_roads(), torch.cat([ordinary, roads(100, size=24, unusual="obstacle", seed=2)[0]])
    )
    assert auroc(scores, torch.arange(200) >= 100) > 0.7


@row(96, "004", "outliers: harsh weather, edge cases; and used in training", "vae/outliers.py")
def _() -> None:
    ordinary, fog = roads(100, size=24, seed=1)[0], roads(100, size=24, unusual="fog", seed=2)[0]
    scores = outlier_scores(of_roads(), torch.cat([ordinary, fog]))
    assert auroc(scores, torch.arange(200) >= 100) > 0.95
    more = torch.cat(
        [roads(500, size=24, seed=0)[0], roads(100, size=24, unusual="fog", seed=3)[0]]
    )
    taught = gaussian(more, 12, 10)
    assert outlier_scores(taught, fog).mean() < outlier_scores(of_roads(), fog).mean()


@row(97, "004", "debiasing: rare codes are drawn more often in training", "vae/outliers.py")
def _() -> None:
    fog = roads(120, size=24, unusual="fog", seed=5)[0]
    images, rare = torch.cat([roads(580, size=24, seed=4)[0], fog[:20]]), torch.arange(600) >= 580
    plain = gaussian(images, 8, 8)
    weights = rarity_weights(codes_of(plain, {"x": images}))
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-4)
    chosen = torch.multinomial(
        weights, 600, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    assert rare[chosen].float().mean() > 2 * rare.float().mean()
    debiased = gaussian(images[chosen], 8, 8)
    assert outlier_scores(debiased, fog[20:]).mean() < outlier_scores(plain, fog[20:]).mean()


@row(
    32,
    "001",
    "multivariate normal with a full covariance matrix and its determinant",
    "vae/multivariate.py",
)
def _() -> None:
    for case in known("kl_gaussian")["full_cov"]:
        first, second = (
            MultivariateGaussian(double(case[f"m{i}"]), double(case[f"S{i}"])) for i in (1, 2)
        )
        assert first.kl(second).item() == pytest.approx(case["kl"], abs=1e-8)
        x = torch.randn(5, len(first.mean), dtype=torch.float64)
        exact = stats.multivariate_normal(case["m1"], case["S1"])
        np.testing.assert_allclose(first.log_prob(x).numpy(), exact.logpdf(x.numpy()), atol=1e-10)
        assert first.determinant.item() == pytest.approx(np.linalg.det(case["S1"]), rel=1e-9)


@row(
    71, "003", "a covariance matrix is symmetric; variances on its diagonal", "vae/multivariate.py"
)
def _() -> None:
    x = torch.randn(400, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    fitted = MultivariateGaussian.fit(x)
    np.testing.assert_allclose(
        fitted.covariance.numpy(), np.cov(x.numpy().T, bias=True), atol=1e-12
    )
    torch.testing.assert_close(fitted.covariance, fitted.covariance.T)
    with pytest.raises(ValueError, match="symmetric"):
        MultivariateGaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.1, 1.0]]))


@row(
    58,
    "003",
    "f is a deep network: an infinite mixture, trained by its likelihood",
    "vae/ancestral.py",
)
def _() -> None:
    torch.manual_seed(0)
    angle = 3.0 * torch.rand(200, 1)
    x = torch.cat([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(200, 2)  # an arc
    network = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    infinite = NonlinearLatentModel(network, 1, 0.05)
    history = infinite.fit(x, steps=150, learning_rate=0.03, num_samples=60)
    one = stats.multivariate_normal(x.mean(0), np.cov(x.numpy().T)).logpdf(x.numpy()).mean()
    assert history[-1] > one + 0.2  # better than the best single Gaussian
    assert history[-1] > history[0]
