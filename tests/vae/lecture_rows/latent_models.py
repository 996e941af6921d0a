"""Rows of document 003: mixtures, latent-variable models, Keras autoencoders, latent arithmetic, ECMVAE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from ecmvae.config import config_from_dict
from ecmvae.losses.latent import MutualInformationBound, orthogonality_loss
from ecmvae.models import build_model
from ecmvae.models.tpavi import TPAVI
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae import bounds
from ecmvae.vae.ancestral import NonlinearLatentModel, sample_chain
from ecmvae.vae.divergences import mmjsd
from ecmvae.vae.fully_connected import mlp_vae
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.keras_same import (
    KerasDecoder,
    KerasEncoder,
    SameConv2d,
    SameConvTranspose2d,
    keras_autoencoder,
)
from ecmvae.vae.latent_space import attribute_direction, box_samples, morph, p_values, uniformity
from ecmvae.vae.lecture_plots import class_p_values, code_notes
from ecmvae.vae.plots import figure, latent_histograms
from ecmvae.vae.zoo import ModelSettings, codes_of

from .shared import (
    ROOT,
    autoencoder,
    decode,
    digits,
    double,
    known,
    not_here,
    parameters,
    row,
    trained,
    vae,
)
from .variational import LinearGaussian, wrong


def curve(z: torch.Tensor) -> torch.Tensor:
    """The lecture's f, one latent to two dimensions."""
    return torch.cat([0.5 * z.sin().exp() + 0.2 * z, (2 * z).cos()], -1)


@row(
    59,
    "003",
    "p(x) of a nonlinear model, by ancestral sampling and by integration",
    "vae/ancestral.py",
)
def _() -> None:
    case = known("mog_nonlinear_manifold")["nonlinear_lvm"]
    model = NonlinearLatentModel(curve, 1, case["sigma2"])
    assert model.log_prob_by_quadrature(double(case["x"])).tolist() == pytest.approx(
        case["log_px"], abs=1e-8
    )
    tables = torch.tensor([0.2, 0.8]), [torch.tensor([[0.5, 0.5], [0.9, 0.1]])]
    drawn = sample_chain(*tables, 20_000)
    observed = np.bincount(2 * drawn[:, 0] + drawn[:, 1], minlength=4)
    assert stats.chisquare(observed, [2000, 2000, 14_400, 1600]).pvalue > 0.001


@row(61, "003", "the ELBO is tight exactly where q is the posterior", "vae/bounds.py")
def _() -> None:
    model = LinearGaussian()
    assert model.elbo(model.posterior) == pytest.approx(model.log_p, abs=1e-9)
    weights = model.log_weights(model.posterior, 50)
    torch.testing.assert_close(weights, torch.full_like(weights, model.log_p), rtol=0, atol=1e-9)
    assert model.elbo(wrong(model.posterior)) < model.log_p - 0.1


@row(62, "003", "the ELBO in three forms", "vae/bounds.py")
def _() -> None:
    model = LinearGaussian()
    q = wrong(model.posterior)
    joint = model.log_weights(q, 200_000)  # log p(x, z) / q
    assert joint.mean().item() == pytest.approx(
        model.elbo(q), abs=4 * joint.std().item() / math.sqrt(200_000)
    )
    assert model.log_p - q.kl(model.posterior).item() == pytest.approx(model.elbo(q), abs=1e-9)


@row(63, "003", "Jensen: E log w <= log E w", "vae/bounds.py")
def _() -> None:
    weights = LinearGaussian().log_weights(wrong(LinearGaussian().posterior), 40_000)
    steps = [bounds.iwae(weights.view(count, -1)).mean().item() for count in (1, 4, 20, 100)]
    assert steps == sorted(steps)


@row(64, "003", "the AEVB loop: minibatch, epsilon, gradient, update", "training/vae_loop.py")
def _() -> None:
    histories, weights = [], []
    for _ in range(2):
        torch.manual_seed(3)
        model = mlp_vae((1, 8, 8), 16, 2)
        how = FitSettings(epochs=3, device="cpu", learning_rate=5e-3)
        histories.append(fit(model, {"x": digits().train_images}, how, progress=False).history)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert histories[0][-1]["loss"] < histories[0][0]["loss"]
    assert torch.equal(*weights)


@row(66, "003", "the Keras encoder: 320, 18,496, 73,856, 4,098; 96,770", "vae/keras_same.py")
def _() -> None:
    encoder, dense = keras_autoencoder().encoder
    assert [parameters(layer) for layer in [*encoder.convs, dense]] == [320, 18_496, 73_856, 4_098]
    maps, sizes = torch.rand(1, 1, 32, 32), []
    for conv in KerasEncoder().convs:
        maps = conv(maps)
        sizes.append(tuple(maps.shape[1:]))
    assert sizes == [(32, 16, 16), (64, 8, 8), (128, 4, 4)]


@row(67, "003", "the Keras decoder: 246,273 parameters", "vae/keras_same.py")
def _() -> None:
    decoder = KerasDecoder()
    layers = [decoder.dense, *decoder.convs, decoder.output]
    assert [parameters(layer) for layer in layers] == [6_144, 147_584, 73_792, 18_464, 289]
    assert parameters(decoder) == 246_273


@row(68, "003", "transposed convolution (not nearest-neighbour interpolation)", "vae/keras_same.py")
def _() -> None:
    conv, transposed = SameConv2d(2, 3).double(), SameConvTranspose2d(3, 2).double()
    transposed.weight.data = conv.weight.data
    for layer in (conv, transposed):
        layer.bias.data.zero_()
    x, y = (
        torch.randn(1, 2, 8, 8, dtype=torch.float64),
        torch.randn(1, 3, 4, 4, dtype=torch.float64),
    )
    torch.testing.assert_close((conv(x) * y).sum(), (x * transposed(y)).sum())  # the adjoint
    assert not torch.allclose(transposed(y), F.interpolate(y, scale_factor=2)[:, :2])


@row(69, "003", "the recipe, and three notes on the autoencoder's codes", "vae/lecture_plots.py")
def _() -> None:
    recipe = (ROOT / "configs" / "vae" / "keras_fashion.yaml").read_text()
    assert "epochs: 5" in recipe
    assert "batch_size: 100" in recipe
    codes = codes_of(autoencoder(), {"x": digits().train_images})
    plain = code_notes(
        codes, digits().train_labels, box_samples(codes, 1000, torch.Generator().manual_seed(0))
    )
    with torch.no_grad():
        drawn = (
            vae().encode(digits().train_images).rsample(generator=torch.Generator().manual_seed(0))
        )
    regular = code_notes(
        drawn,
        digits().train_labels,
        torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)),
    )
    assert plain.area_ratio > 2
    assert plain.extent > 2 * regular.extent
    assert plain.offset > regular.offset
    assert plain.gap_share > regular.gap_share


@row(70, "003", "18 samples evenly from the box of the codes", "vae/latent_space.py")
def _() -> None:
    codes = torch.tensor([[-3.0, 1.0], [5.0, 2.0], [0.0, 1.5]])
    drawn = box_samples(codes, 18, torch.Generator().manual_seed(0))
    assert drawn.shape == (18, 2)
    assert ((drawn >= codes.amin(0)) & (drawn <= codes.amax(0))).all()


@row(72, "003", "sigma = exp(log-variance / 2)", "vae/gaussian.py")
def _() -> None:
    assert DiagonalGaussian(
        torch.zeros(1), torch.tensor([2 * math.log(3.0)])
    ).std.item() == pytest.approx(3.0)


@row(77, "003", "histograms of the first 50 of 200 dimensions", "vae/plots.py")
def _() -> None:
    codes = torch.randn(2000, 200)
    drawn = latent_histograms(codes, dimensions=50)
    shown = [axis for axis in drawn.axes if axis.has_data()]
    assert len(shown) == 50
    heights = [bar.get_height() for bar in shown[49].patches]
    np.testing.assert_allclose(
        heights, np.histogram(codes[:, 49], 40, (-4, 4), density=True)[0], atol=1e-6
    )


@row(
    79,
    "003",
    "z + alpha feature vector, the mean with minus the mean without",
    "vae/latent_space.py",
)
def _() -> None:
    codes, labels = codes_of(vae(8), {"x": digits().train_images}), digits().train_labels
    direction = attribute_direction(codes[labels == 0], codes[labels == 1])
    expected = codes[labels == 0].mean(0) - codes[labels == 1].mean(0)
    torch.testing.assert_close(direction, expected)
    ones = codes_of(vae(8), {"x": digits().test_images[digits().test_labels == 1]})
    edited = decode(vae(8), ones + direction).flatten(1)
    zero, one = (digits().train_images[labels == label].flatten(1).mean(0) for label in (0, 1))
    assert ((edited - zero).norm(dim=1) < (edited - one).norm(dim=1)).float().mean() > 0.8


@row(80, "003", "morph: z_A (1 - alpha) + z_B alpha", "vae/latent_space.py")
def _() -> None:
    case = known("latent_ops")["lerp"]
    found = morph(double(case["a"]), double(case["b"]), double(case["alpha"]))
    torch.testing.assert_close(found, double(case["out"]), rtol=0, atol=1e-12)


@row(81, "003", "homework: the novelty of the paper (arXiv 2310.08303)", "docs/method.md")
def _() -> None:
    page = (ROOT / "docs" / "method.md").read_text()
    assert "2310.08303" in page
    for term in (
        "kl_visual",
        "kl_audio",
        "js_shared",
        "orthogonality",
        "mutual_information",
        "audio_visual_matching",
    ):
        assert f"`{term}`" in page


@row(82, "003", "homework: batch sizes", "training/vae_loop.py")
def _() -> None:
    bound = {}
    for size, epochs in ((30, 2), (300, 2), (300, 20)):  # equal epochs, and equal steps
        torch.manual_seed(0)
        model = mlp_vae((1, 8, 8), 32, 4)
        fit(
            model,
            {"x": digits().train_images},
            FitSettings(epochs=epochs, batch_size=size, device="cpu"),
            progress=False,
        )
        with torch.no_grad():
            bound[size, epochs] = model(digits().test_images, "mean").loss.item()
    # at equal epochs the small batch wins: it took ten times the steps
    assert bound[30, 2] < bound[300, 2] - 1
    assert bound[300, 20] < bound[300, 2] - 1


@row(83, "003", "denoising autoencoder", "vae/autoencoder.py")
def _() -> None:
    model = trained(ModelSettings(name="autoencoder", hidden=64, latent_dim=16, noise_std=0.4), 20)
    noisy = digits().test_images + 0.4 * torch.randn(digits().test_images.shape)
    with torch.no_grad():
        error = ((model.reconstruct(noisy) - digits().test_images) ** 2).mean().item()
    assert error < 0.3 * 0.4**2


@row(84, "003", "ECMVAE: a shared code and one of each modality", "models/ecmvae.py")
def _() -> None:
    torch.manual_seed(0)
    config = config_from_dict({"model": {"visual": {"name": "efficientnet_lite0"}, "channels": 16}})
    model = build_model(config.model, image_size=64).eval()
    masks = torch.ones(1, 2, 1, 64, 64)
    with torch.no_grad():
        answer = model(torch.randn(1, 2, 3, 64, 64), torch.rand(1, 2, 128), masks)
    assert set(answer.prior) == set(answer.posterior) == {"shared", "visual", "audio"}
    assert answer.logits.shape == (1, 2, 1, 64, 64)


@row(85, "003", "KL of the factorised latents: a sum over them", "vae/latents.py")
def _() -> None:
    parts = [DiagonalGaussian(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(3)]
    joint = DiagonalGaussian(
        torch.cat([p.mean for p in parts], 1), torch.cat([p.logvar for p in parts], 1)
    )
    torch.testing.assert_close(joint.kl(), sum(part.kl() for part in parts))


@row(86, "003", "orthogonality of shared and specific codes", "losses/latent.py")
def _() -> None:
    case = known("difference_loss")
    for each in case["cases"]:
        assert math.isclose(
            orthogonality_loss(double(each["a"]), double(each["b"])).item(),
            each["frobenius_version"],
            abs_tol=case["tol"],
        )


@row(
    87,
    "003",
    "mutual information between the codes is maximised, by a lower bound",
    "losses/latent.py",
)
def _() -> None:
    rho, count = 0.9, 40_000
    x, noise = torch.randn(2, count, 1, dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * noise
    q = DiagonalGaussian(rho * x, torch.full_like(x, math.log(1 - rho**2)))
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert bounds.barber_agakov(y, q, entropy).item() == pytest.approx(
        -0.5 * math.log(1 - rho**2), abs=0.02
    )
    assert MutualInformationBound(4, 3)(torch.randn(5, 4), torch.randn(5, 4)).isfinite()


@row(88, "003", "Jensen-Shannon divergence over several modalities", "vae/divergences.py")
def _() -> None:
    case = known("poe_mopoe_mmjsd")["mmjsd"]
    for each in case if isinstance(case, list) else [case]:
        experts = [
            DiagonalGaussian(double(m), double(v))
            for m, v in zip(each["mus"], each["logvars"], strict=True)
        ]
        found = mmjsd(experts, each["weights"])
        torch.testing.assert_close(found, double(each["mmjsd_divergence"]), rtol=0, atol=1e-10)


@row(89, "003", "TPAVI: sound and picture attend to each other at each scale", "models/tpavi.py")
def _() -> None:
    torch.manual_seed(0)
    block = TPAVI(16, 128).eval()
    picture, sound = torch.randn(2, 3, 16, 5, 5), torch.randn(2, 3, 128)
    with torch.no_grad():
        start = block(picture, sound)[0]
        torch.nn.init.ones_(block.out_norm.weight)  # it starts as the identity
        fused, other = block(picture, sound)[0], block(picture, sound.flip(0))[0]
    assert fused.shape == picture.shape
    assert not torch.allclose(fused, start)
    assert not torch.allclose(fused, other)


@row(90, "003", "AVSBench: 5,356 videos", "docs/data.md")
def _() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    assert "4,932 clips" in page
    assert "424 clips" in page
    assert 4932 + 424 == 5356


not_here(
    91,
    "003",
    "+3.00 and +3.84 mIoU over AVSBench",
    "the data set is given on request and was not at hand; docs/reproduce.md has the commands",
)


@row(
    92, "003", "a picture that compares masks with the truth and another model", "tools/compare.py"
)
def _() -> None:
    page = (ROOT / "docs" / "evaluate.md").read_text()
    assert "tools/compare.py" in page  # tests/tools runs it


@row(
    74,
    "003",
    "codes as p-values: the square is filled evenly, each class takes its part",
    "vae/lecture_plots.py",
)
def _() -> None:
    with torch.no_grad():
        codes = (
            vae().encode(digits().train_images).rsample(generator=torch.Generator().manual_seed(0))
        )
    drawn = class_p_values(figure()[1], codes, digits().train_labels)
    points = np.concatenate([each.get_offsets() for each in drawn.collections])
    assert len(points) == 1500
    assert ((points >= 0) & (points <= 1)).all()
    assert uniformity(codes).max() < 0.2
    assert (
        uniformity(codes_of(autoencoder(), {"x": digits().train_images})).max()
        > uniformity(codes).max()
    )
    torch.testing.assert_close(p_values(torch.zeros(1, 2)), torch.full((1, 2), 0.5))
