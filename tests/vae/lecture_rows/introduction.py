"""Rows of the documents 000 and 002: naive Bayes, autoencoders, the first VAE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae.classic import NaiveBayes
from ecmvae.vae.fully_connected import mlp_autoencoder, mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.latent_space import box_samples, recall_at_k, roughness
from ecmvae.vae.metrics import auroc, compression_ratio
from ecmvae.vae.outliers import memorisation_check, outlier_scores
from ecmvae.vae.plots import figure, latent_scatter
from ecmvae.vae.zoo import codes_of

from .shared import ROOT, autoencoder, decode, digits, double, known, not_here, parameters, row, vae

FEATURES = ("topType", "hairColor", "clothingColor", "accessoriesType", "clothingType")
EXAMPLE = ("LongHairStraight", "Red", "White", "Round", "ShirtScoopNeck")
FIRST_TEN = """Round White ShirtScoopNeck Red ShortHairShortFlat
Round White Overall SilverGrey ShortHairFrizzle
Sunglasses White ShirtScoopNeck Blonde ShortHairShortFlat
Round White ShirtScoopNeck Red LongHairStraight
Round White Overall SilverGrey NoHair
Blank White Overall Black LongHairStraight
Sunglasses White Overall SilverGrey LongHairStraight
Round White ShirtScoopNeck SilverGrey ShortHairShortFlat
Round Pink Hoodie SilverGrey LongHairStraight
Round PastelOrange ShirtScoopNeck Blonde LongHairStraight"""
"""Accessories, clothing colour, clothing, hair colour, top of the table's rows 0 to 9, as the document prints them."""


def counts() -> dict[str, dict[str, int]]:
    """The printed count of every value, in the order of FEATURES."""
    return {feature: known("seed_tables")["naive_bayes"]["counts"][feature] for feature in FEATURES}


def faces(smoothing: float = 0.0) -> NaiveBayes:
    """Naive Bayes of 50 faces with the printed counts."""
    table = np.stack(
        [np.repeat(np.arange(len(each)), list(each.values())) for each in counts().values()], 1
    )
    return NaiveBayes(smoothing=smoothing).fit(
        table, categories=[len(each) for each in counts().values()]
    )


def indices(values: tuple[str, ...]) -> list[list[int]]:
    """One row of the table."""
    return [
        [list(each).index(value) for each, value in zip(counts().values(), values, strict=True)]
    ]


@row(1, "000", "generative p(x), discriminative p(y|x), joined by Bayes' rule", "vae/classic.py")
def _() -> None:
    x, y = (
        (digits().train_images[:, 0] > 0.5).long().flatten(1).numpy(),
        digits().train_labels.numpy(),
    )
    model = NaiveBayes(smoothing=1.0).fit(x, categories=[2] * 64, labels=y)
    test = (digits().test_images[:, 0] > 0.5).long().flatten(1).numpy()
    joint = np.exp(model.joint_log_prob(test))
    np.testing.assert_allclose(
        model.posterior(test), joint / joint.sum(1, keepdims=True), rtol=1e-9
    )
    assert (
        model.posterior(test).argmax(1) == digits().test_labels.numpy()
    ).mean() > 0.8  # a generative classifier


@row(2, "000", "7 x 6 x 3 x 4 x 8 = 4,032 combinations", "vae/classic.py")
def _() -> None:
    tables = faces().tables
    assert math.prod(table.shape[1] for table in tables) == 4032
    # a bun and black clothes were never seen
    assert math.prod(int((table > 0).sum()) for table in tables) == 3024


@row(3, "000", "theta = n / N: 23 of 50 have long straight hair", "vae/classic.py")
def _() -> None:
    for table, each in zip(faces().tables, counts().values(), strict=True):
        np.testing.assert_allclose(table[0], np.array(list(each.values())) / 50, atol=1e-15)
    assert faces().tables[0][0, 3] == pytest.approx(0.46)


@row(4, "000", "p(example) = .46 .16 .44 .38 .44 = 0.0054", "vae/classic.py")
def _() -> None:
    assert math.exp(faces().log_prob(indices(EXAMPLE))[0]) == pytest.approx(0.0054146048, abs=1e-12)


@row(6, "000", "the first ten observations", "vae/classic.py")
def _() -> None:
    printed = [line.split() for line in FIRST_TEN.splitlines()]
    order = ("accessoriesType", "clothingColor", "clothingType", "hairColor", "topType")
    table = [[list(counts()[f]).index(line[order.index(f)]) for f in FEATURES] for line in printed]
    for column, feature in enumerate(FEATURES):
        seen = np.bincount([line[column] for line in table], minlength=len(counts()[feature]))
        assert (seen <= np.array(list(counts()[feature].values()))).all()  # ten of the fifty
    model = NaiveBayes().fit(table, categories=[len(each) for each in counts().values()])
    # By hand: 5 of 10 long and straight, 2 red, 8 white, 7 round, 5 scoop neck.
    assert math.exp(model.log_prob(indices(EXAMPLE))[0]) == pytest.approx(
        0.5 * 0.2 * 0.8 * 0.7 * 0.5, abs=1e-12
    )
    assert np.isfinite(faces().log_prob(table)).all()


@row(7, "000", "256^1024 pictures of 32 x 32 grey pixels", "vae/metrics.py")
def _() -> None:
    assert 1024 * math.log10(256) == pytest.approx(
        known("seed_tables")["log10_256_pow_1024"], abs=1e-9
    )
    assert len(str(256**1024)) == 2467


@row(8, "000", "naive Bayes on pixels: each pixel right, the picture wrong", "vae/classic.py")
def _() -> None:
    images = (digits().train_images[:, 0] * 15).round().long().numpy()
    model = NaiveBayes().fit(images.reshape(len(images), -1), categories=[16] * 64)
    drawn = model.sample(1500, np.random.default_rng(0))[0].reshape(-1, 8, 8)

    def shared(x: np.ndarray) -> float:
        return float(np.mean([np.corrcoef(x[:, r, 3], x[:, r, 4])[0, 1] for r in (2, 3, 4)]))

    assert shared(images) > 0.2
    assert abs(shared(drawn)) < 0.08
    assert np.abs(drawn.mean(0) - images.mean(0)).max() < 0.5


not_here(
    9,
    "000",
    "pictures of published GANs",
    "no GAN is part of this library; the slide shows other people's results",
)


@row(
    10, "000", "two rules: samples look like the data, and are not copies of it", "vae/outliers.py"
)
def _() -> None:
    train, test = digits().train_images, digits().test_images
    with torch.no_grad():
        samples = vae(8).sample(297, torch.Generator().manual_seed(0))
    check = memorisation_check(samples, train, test)
    copies = memorisation_check(train[:297] + 0.01 * torch.randn(297, 1, 8, 8), train, test)
    noise = memorisation_check(torch.rand(297, 1, 8, 8), train, test)
    assert copies.nearer_share > 0.99  # breaks rule 2
    assert noise.nearer_share < 0.01  # breaks rule 1
    assert 0.05 < check.nearer_share < 0.95


@row(11, "000", "an autoencoder learns x = d(e(x)) through a bottleneck", "vae/autoencoder.py")
def _() -> None:
    test = digits().test_images
    with torch.no_grad():
        error = ((autoencoder(8).reconstruct(test) - test) ** 2).mean().item()
    assert error < 0.5 * ((digits().train_images.mean(0) - test) ** 2).mean().item()


@row(12, "000", "layers 784-256-10-256-784", "vae/fully_connected.py")
def _() -> None:
    widths = [
        layer.out_features
        for layer in mlp_autoencoder().modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    assert widths == [256, 10, 256, 784]


@row(13, "000", "codes coloured by class form groups", "vae/plots.py")
def _() -> None:
    codes, labels = codes_of(autoencoder(), {"x": digits().test_images}), digits().test_labels
    drawn = latent_scatter(figure()[1], codes, labels, title="codes")
    assert len(drawn.get_legend().get_texts()) == 10
    assert recall_at_k(codes[:100], labels[:100], codes[100:], labels[100:]) > 3 * 0.1


@row(14, "000", "new pictures by decoding codes that no picture had", "vae/latent_space.py")
def _() -> None:
    codes = codes_of(autoencoder(), {"x": digits().train_images})
    images = decode(autoencoder(), box_samples(codes, 18, torch.Generator().manual_seed(0)))
    assert images.shape == (18, 1, 8, 8)
    assert images.std(0).mean() > 0.05  # not one picture 18 times
    # and no copies
    assert torch.cdist(images.flatten(1), digits().train_images.flatten(1)).min() > 0.1


@row(15, "000", "a regular latent space: near codes decode to near pictures", "vae/latent_space.py")
def _() -> None:
    changes = []
    for model in (autoencoder(), vae()):
        codes = codes_of(model, {"x": digits().train_images})
        step = 0.1 * float(codes.std(0).mean())
        changes.append(
            roughness(
                lambda z, m=model: decode(m, z), codes, step, torch.Generator().manual_seed(0)
            )
        )
    assert changes[1] < changes[0]


@row(16, "000", "compression: 1,024 pixels to 2 numbers", "vae/metrics.py")
def _() -> None:
    assert compression_ratio((1, 32, 32), 2) == 512


@row(
    17,
    "000",
    "the codes are features: pre-training without labels, then a classifier",
    "vae/zoo.py",
)
def _() -> None:
    few, test = slice(0, 60), digits().test_images  # six labels a class
    codes = codes_of(vae(8), {"x": digits().train_images[few]})
    found = recall_at_k(
        codes_of(vae(8), {"x": test}), digits().test_labels, codes, digits().train_labels[few]
    )
    assert found > 5 * 0.1


@row(19, "000", "anomalies have a large reconstruction error", "vae/outliers.py")
def _() -> None:
    noise = torch.rand(200, 1, 8, 8)
    scores = outlier_scores(autoencoder(8), torch.cat([digits().test_images, noise]))
    assert auroc(scores, torch.arange(len(scores)) >= 297) > 0.9


@row(20, "000", "an autoencoder is deterministic, a VAE stochastic", "vae/vae.py")
def _() -> None:
    x = digits().test_images[:5]
    with torch.no_grad():
        assert torch.equal(autoencoder()(x).code, autoencoder()(x).code)
        assert not torch.equal(vae()(x).z, vae()(x).z)
        assert torch.equal(vae()(x, "mean").z, vae()(x, "mean").z)


@row(21, "000", "the notebook of generative models, AE and VAE", "docs/notebooks/lecture_000.ipynb")
def _() -> None:
    text = (ROOT / "docs" / "notebooks" / "lecture_000.ipynb").read_text()
    # tests/test_notebooks.py runs it
    assert all(word in text for word in ("NaiveBayes", "autoencoder", "VAE"))


@row(22, "000", "the VAE 784-256-(10, 10)-256-784 has 410,404 parameters", "vae/fully_connected.py")
def _() -> None:
    assert parameters(mlp_vae()) == 410_404


@row(23, "000", "z = mu + sigma * epsilon", "vae/gaussian.py")
def _() -> None:
    case = known("latent_ops")["reparam"]
    mean, logvar = double(case["mu"]), double(case["logvar"])
    torch.testing.assert_close(mean + (0.5 * logvar).exp() * double(case["eps"]), double(case["z"]))
    drawn = DiagonalGaussian(mean, logvar).rsample(50_000)
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(0), (0.5 * logvar).exp(), rtol=0.02, atol=0)


@row(
    24,
    "000",
    "KL = -1/2 sum(1 + log s^2 - mu^2 - s^2); the second line lacks the minus",
    "vae/gaussian.py",
)
def _() -> None:
    for case in known("kl_gaussian")["hand_to_standard_normal"]:
        mean, logvar = double(case["mu"]), double(case["logvar"])
        assert DiagonalGaussian(mean, logvar).kl().item() == pytest.approx(case["kl"], abs=1e-10)
        # without the minus: never above 0
        printed = 0.5 * (1 + logvar - mean**2 - logvar.exp()).sum().item()
        assert printed == pytest.approx(-case["kl"], abs=1e-10)


@row(25, "000", "loss = reconstruction (binary cross-entropy) + KL", "vae/vae.py")
def _() -> None:
    x = digits().test_images[:20]
    with torch.no_grad():
        output = vae()(x, "mean")
    entropy = (
        torch.nn.functional.binary_cross_entropy_with_logits(output.parameters, x, reduction="sum")
        / 20
    )
    assert output.loss.item() == pytest.approx((entropy + output.kl.mean()).item(), rel=1e-5)


@row(26, "000", "a VAE's codes lie around 0 with spread 1", "vae/vae.py")
def _() -> None:
    with torch.no_grad():
        codes = (
            vae().encode(digits().train_images).rsample(generator=torch.Generator().manual_seed(0))
        )
    assert codes.mean(0).abs().max() < 0.3
    assert (codes.std(0) - 1).abs().max() < 0.3
    of_autoencoder = codes_of(autoencoder(), {"x": digits().train_images})
    assert of_autoencoder.std(0).max() > 1.5 * codes.std(0).max()


@row(27, "000", "a VAE generates from N(0, I)", "vae/vae.py")
def _() -> None:
    with torch.no_grad():
        samples = vae(8).sample(300, torch.Generator().manual_seed(0))
    assert ((samples > 0) & (samples < 1)).all()
    scores = outlier_scores(vae(8), torch.cat([samples, torch.rand(300, 1, 8, 8)]))
    assert auroc(scores, torch.arange(600) >= 300) > 0.99  # nearer to digits than noise is


@row(
    29, "002", "sigma and mu of q(z|x) come from the encoder (the notes say decoder)", "vae/vae.py"
)
def _() -> None:
    model, x = mlp_vae((6,), 8, 2), torch.rand(3, 6)
    before = model.encode(x)
    for weight in model.decoder.parameters():
        weight.data.add_(1.0)
    assert torch.equal(model.encode(x).logvar, before.logvar)


@row(30, "002", "anomalies by the VAE's bound", "vae/outliers.py")
def _() -> None:
    scores = outlier_scores(vae(8), torch.cat([digits().test_images, torch.rand(200, 1, 8, 8)]))
    assert auroc(scores, torch.arange(len(scores)) >= 297) > 0.9


@row(31, "002", "naive Bayes: p(x_j | x_k) = p(x_j)", "vae/classic.py")
def _() -> None:
    drawn = faces().sample(20_000, np.random.default_rng(0))[0]
    table = np.zeros((7, 6))
    np.add.at(table, (drawn[:, 0], drawn[:, 1]), 1)
    kept = table[table.sum(1) > 500]
    assert stats.chi2_contingency(kept).pvalue > 0.001
