"""Encoders: sizes, layer order and parameter counts of ECMVAE's published layout; the head's clamp."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from ecmvae.vae.encoders import ConvEncoder, GaussianHead, MLPEncoder
from ecmvae.vae.gaussian import LOGVAR_LIMIT


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_conv_encoder_is_ecmvaes_image_encoder():
    encoder = ConvEncoder(3, (16, 32, 64, 128, 128), 224)
    assert encoder.out_features == 6272
    assert encoder.out_shape == (128, 7, 7)
    widths = (3, 16, 32, 64, 128, 128)
    # conv k4 + bias, batch norm
    expected = sum(a * b * 16 + b + 2 * b for a, b in itertools.pairwise(widths))
    assert count(encoder) == expected


def test_conv_encoder_equals_the_operations_written_out():
    encoder = ConvEncoder(2, (4, 8), 16).eval()
    images = torch.randn(3, 2, 16, 16)
    (conv1, norm1, _, conv2, norm2, _) = encoder.layers
    for norm in (norm1, norm2):
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.weight)
    maps = images
    for conv, norm in ((conv1, norm1), (conv2, norm2)):
        maps = F.conv2d(maps, conv.weight, conv.bias, stride=2, padding=1)
        maps = F.leaky_relu(
            F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias), 0.01
        )
    torch.testing.assert_close(encoder(images), maps.reshape(3, -1))


def test_conv_encoder_of_another_size():
    assert ConvEncoder(1, (8, 8), 96)(torch.rand(2, 1, 96, 96)).shape == (2, 8 * 24 * 24)


def test_mlp_encoder_equals_the_operations_written_out():
    encoder = MLPEncoder(6, (5, 4))
    x = torch.randn(3, 2, 3)
    first, _, second, _ = encoder.layers
    hidden = (x.reshape(3, 6) @ first.weight.T + first.bias).clamp_min(0)
    torch.testing.assert_close(encoder(x), (hidden @ second.weight.T + second.bias).clamp_min(0))


def test_gaussian_head_clamps_the_logvar_only_beyond_the_limit():
    head = GaussianHead(4, 3)
    features = torch.randn(5, 4)
    posterior = head(features)
    torch.testing.assert_close(
        posterior.logvar, F.linear(features, head.logvar.weight, head.logvar.bias)
    )
    torch.testing.assert_close(posterior.mean, F.linear(features, head.mean.weight, head.mean.bias))
    wild = head(1e6 * features)
    assert wild.logvar.abs().max().item() == LOGVAR_LIMIT
    assert torch.isfinite(wild.kl()).all()


def test_gaussian_head_keeps_float32_under_autocast():
    head = GaussianHead(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(torch.randn(2, 4)).kl().dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvEncoder(3, (8, 8), 30), "multiple of 4"),
        (lambda: ConvEncoder(3, (), 32), "at least one width"),
        (lambda: MLPEncoder(4, ()), "at least one width"),
        (lambda: MLPEncoder(784, (8,))(torch.rand(2, 1, 32, 32)), "expected 784"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
