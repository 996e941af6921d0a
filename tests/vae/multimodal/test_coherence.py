"""Coherence of models that copy what they are given by construction, and of trained ones on digits."""

import pytest
import torch
from torch import nn

from ecmvae.data.mnist import load_images
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import GaussianHead, MLPEncoder
from ecmvae.vae.gaussian import DiagonalGaussian
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.multimodal import MVAE, MoPoE
from ecmvae.vae.multimodal.coherence import (
    CoherenceReport,
    coherence,
    conditional_coherence,
    joint_coherence,
)
from ecmvae.vae.zoo import ModelSettings, batch_for, build_vae

NAMES = ["a", "b", "c"]


class Copy(nn.Module):
    """A certain encoder: z = x, with a variance."""

    def __init__(self, logvar):
        super().__init__()
        self.logvar = logvar

    def forward(self, x):
        return DiagonalGaussian(x, torch.full_like(x, self.logvar))


def sign(x):
    """The label of a modality: whether its number is above 0."""
    return (x[:, 0] > 0).long()


def copying_model(flipped=()):
    """Three numbers with one latent, known best from modality a; the decoders of `flipped` turn the sign."""
    decoders = {name: nn.Linear(1, 1) for name in NAMES}
    with torch.no_grad():
        for name, decoder in decoders.items():
            decoder.weight.fill_(-1.0 if name in flipped else 1.0)
            decoder.bias.zero_()
    encoders = {name: Copy(-9.0 if name == "a" else -4.4) for name in NAMES}
    return MVAE(
        encoders, decoders, 1, likelihoods={name: GaussianLikelihood() for name in NAMES}
    ).eval()


@pytest.fixture
def labellers():
    return dict.fromkeys(NAMES, sign)


def test_conditional_coherence_by_hand(labellers):
    model = copying_model(flipped=["c"])
    # the last label is wrong
    x, labels = (torch.tensor([[2.0], [-1.0], [3.0], [-2.0]]), torch.tensor([1, 0, 1, 1]))
    data = {"a": x, "b": -x, "c": x}
    report = coherence(model, data, labels, labellers)
    assert len(report.conditional) == 7
    assert report.conditional["a",] == {"a": 0.75, "b": 0.75, "c": 0.25}
    assert report.conditional["b",] == {"a": 0.25, "b": 0.25, "c": 0.75}
    assert report.conditional["a", "b"] == {"a": 0.75, "b": 0.75, "c": 0.25}  # a outweighs b
    assert report.joint == 0.0  # c always differs
    shares = [0.75, 0.25, 0.25, 0.75, 0.75, 0.75]  # a -> b, c; b -> a, c; c -> a, b
    assert report.cross_modal(1) == pytest.approx(sum(shares) / 6)
    assert report.cross_modal(2) == pytest.approx((0.25 + 0.75 + 0.25) / 3)


def test_batches_change_nothing_and_scores_are_read_as_labels(labellers):
    model, x = copying_model(), torch.randn(50, 1)
    labels = (x[:, 0] + 0.5 * torch.randn(50) > 0).long()
    whole = conditional_coherence(model, {"b": x}, labels, labellers, ["b"])
    two_scores = dict.fromkeys(NAMES, lambda x: torch.cat([-x, x], 1))
    assert conditional_coherence(model, {"b": x}, labels, two_scores, ["b"], batch_size=7) == whole
    assert whole == dict.fromkeys(NAMES, int((sign(x) == labels).sum()) / 50)


def test_joint_coherence_of_one_latent_is_1_and_that_of_private_coins_a_quarter(labellers):
    assert joint_coherence(copying_model(), labellers, 100) == 1.0
    generator = torch.Generator().manual_seed(0)
    coins = dict.fromkeys(NAMES, lambda x: torch.randint(2, (len(x),), generator=generator))
    assert joint_coherence(copying_model(), coins, 20_000) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("name", ["mopoe", "mmvae"])
def test_a_true_label_overrules_a_noisy_image(name):
    """The image comes first among the modalities; from it alone the label is often wrong."""
    images = load_images("digits")
    torch.manual_seed(0)
    model = build_vae(ModelSettings(name=name, latent_dim=16, hidden=128), (1, 8, 8))
    fit(
        model,
        batch_for(model, images.train_images, images.train_labels),
        FitSettings(epochs=40, device="cpu"),
        progress=False,
    )
    data = batch_for(model, images.test_images, images.test_labels)
    noise = torch.rand(images.test_images.shape, generator=torch.Generator().manual_seed(1))
    reads = {"label": lambda probabilities: probabilities}
    noisy = {"label": data["label"], "image": 0.5 * data["image"] + 0.5 * noise}
    both = conditional_coherence(model, noisy, images.test_labels, reads, ["image", "label"])[
        "label"
    ]
    alone = conditional_coherence(model, noisy, images.test_labels, reads, ["image"])["label"]
    assert both >= 0.95
    assert alone < 0.75
    only_noise = {"label": data["label"], "image": noise}
    assert (
        conditional_coherence(model, only_noise, images.test_labels, reads, ["image", "label"])[
            "label"
        ]
        >= 0.95
    )


def test_mopoe_from_two_of_three_modalities_on_a_toy():
    """Ten classes seen three times with noise: one modality tells the best of readers 86 % of the classes."""
    generator = torch.Generator().manual_seed(3)
    centres = {name: torch.randn(10, 8, generator=generator) for name in NAMES}

    def draw(count):
        labels = torch.randint(10, (count,), generator=generator)
        return {
            n: c[labels] + 0.8 * torch.randn(count, 8, generator=generator)
            for n, c in centres.items()
        }, labels

    def nearest(name):
        return lambda x: torch.cdist(x, centres[name]).argmin(1)

    (train, _), (test, labels) = draw(4000), draw(1000)
    torch.manual_seed(0)
    model = MoPoE(
        {name: nn.Sequential(MLPEncoder(8, (64,)), GaussianHead(64, 8)) for name in NAMES},
        {name: MLPDecoder(8, (64,), (8,)) for name in NAMES},
        8,
        likelihoods={name: GaussianLikelihood(0.64) for name in NAMES},
    )
    fit(model, train, FitSettings(epochs=20, learning_rate=3e-3, device="cpu"), progress=False)
    report = coherence(model, test, labels, {name: nearest(name) for name in NAMES})
    assert report.cross_modal(2) >= 0.82
    assert report.cross_modal(2) > report.cross_modal(1) + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, d, y, r: conditional_coherence(m, d, y, r, []),
            "no modality is given: give at least one of a, b",
        ),
        (
            lambda m, d, y, r: conditional_coherence(m, d, y, r, ["d"]),
            "the data lacks d: it has a, b, c",
        ),
        (
            lambda m, d, y, r: conditional_coherence(m, d, y, {"d": sign}, ["a"]),
            "unknown modality d",
        ),
        (
            lambda m, d, y, r: conditional_coherence(m, d, y, {"a": lambda x: x[0]}, ["a"]),
            "labeller of a gave",
        ),
        (
            lambda m, d, y, r: conditional_coherence(m, d, y, {"a": lambda x: x[:, 0]}, ["a"]),
            "whole numbers",
        ),
        (lambda m, d, y, r: joint_coherence(m, {"a": sign}), "at least two"),
        (lambda m, d, y, r: joint_coherence(m, {"a": sign, "d": sign}), "unknown modality d"),
        (lambda m, d, y, r: joint_coherence(m, r, 0), "count must be at least 1, got 0"),
        (
            lambda m, d, y, r: CoherenceReport(joint=1.0, conditional={}).cross_modal(2),
            "no subset of 2",
        ),
    ],
)
def test_bad_input_says_what_to_do(call, message, labellers):
    data = {name: torch.ones(3, 1) for name in NAMES}
    with pytest.raises(ValueError, match=message):
        call(copying_model(), data, torch.ones(3, dtype=torch.long), labellers)
