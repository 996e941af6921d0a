"""Decoders against the operations written out, and as mirrors of the encoders."""

import pytest
import torch
from torch.nn import functional as F

from ecmvae.vae.decoders import ConvDecoder, MLPDecoder
from ecmvae.vae.encoders import ConvEncoder


def test_conv_decoder_equals_the_operations_written_out():
    decoder = ConvDecoder(3, (8, 2, 2), (4,), 1).eval()
    z = torch.randn(5, 3)
    first, norm, _, last = decoder.layers
    maps = F.linear(z, decoder.project.weight, decoder.project.bias).reshape(5, 8, 2, 2)
    maps = F.conv_transpose2d(maps, first.weight, first.bias, stride=2, padding=1)
    maps = F.leaky_relu(
        F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias), 0.01
    )
    maps = F.conv_transpose2d(maps, last.weight, last.bias, stride=2, padding=1)
    torch.testing.assert_close(decoder(z), maps)


def test_nearest_neighbours_then_a_convolution():
    decoder = ConvDecoder(3, (8, 2, 2), (), 1, "nearest")
    z = torch.randn(5, 3)
    maps = F.linear(z, decoder.project.weight, decoder.project.bias).reshape(5, 8, 2, 2)
    maps = maps.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(maps, decoder.layers[-1].weight, decoder.layers[-1].bias, padding=1)
    torch.testing.assert_close(decoder(z), expected)


def test_an_unknown_upsampling_lists_the_known():
    with pytest.raises(ValueError, match="choose from transposed, nearest"):
        ConvDecoder(3, (8, 2, 2), (), 1, "cubic")


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_conv_decoder_undoes_the_encoders_sizes(upsampling):
    for size in (32, 48, 96):
        encoder = ConvEncoder(3, (8, 16, 32), size)
        decoder = ConvDecoder(7, encoder.out_shape, (16, 8), 3, upsampling)
        assert decoder(torch.randn(2, 7)).shape == (2, 3, size, size)


def test_mlp_decoder_equals_the_operations_written_out():
    decoder = MLPDecoder(3, (4,), (1, 2, 5))
    z = torch.randn(6, 3)
    first, _, last = decoder.layers
    hidden = (z @ first.weight.T + first.bias).clamp_min(0)
    torch.testing.assert_close(decoder(z), (hidden @ last.weight.T + last.bias).reshape(6, 1, 2, 5))
