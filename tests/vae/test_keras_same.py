"""Keras' `same` padding against known answers; the lecture's parameter counts, layer by layer."""

import pytest
import torch
from torch.nn import functional as F

from ecmvae.vae.keras_same import (
    KerasDecoder,
    KerasEncoder,
    SameConv2d,
    SameConvTranspose2d,
    keras_autoencoder,
    keras_vae,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def as_tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_same_convolutions_known_answers(known):
    case = known("keras_same_conv")
    x, weight = as_tensor(case["x"]), as_tensor(case["w"])
    conv = SameConv2d(weight.shape[1], weight.shape[0]).double()
    conv.weight.data, conv.bias.data = weight, as_tensor(case["b"])
    torch.testing.assert_close(conv(x[None])[0], as_tensor(case["conv"]), rtol=0, atol=1e-10)
    other = F.conv2d(x[None], weight, as_tensor(case["b"]), stride=2, padding=1)[0]
    largest = (other - conv(x[None])[0]).abs().max().item()
    assert largest == pytest.approx(case["max_abs_diff_of_padding1_variant"][0], abs=1e-9)
    weight = as_tensor(case["wT_ci_co_k_k"])
    transposed = SameConvTranspose2d(weight.shape[0], weight.shape[1]).double()
    transposed.weight.data, transposed.bias.data = weight, as_tensor(case["bT"])
    for source in (x, as_tensor(case["conv"])):
        if (
            len(source) == weight.shape[0]
            and tuple(2 * s for s in source.shape[1:]) == as_tensor(case["convT"]).shape[1:]
        ):
            torch.testing.assert_close(
                transposed(source[None])[0], as_tensor(case["convT"]), rtol=0, atol=1e-10
            )
            break
    else:
        pytest.fail("no input of the file fits the transposed convolution")


@pytest.mark.parametrize(("size", "stride", "kernel"), [(7, 2, 3), (8, 2, 4), (8, 1, 3), (9, 3, 5)])
def test_same_sizes_in_general(size, stride, kernel):
    x = torch.rand(1, 2, size, size)
    assert SameConv2d(2, 3, kernel, stride)(x).shape[-1] == -(-size // stride)
    assert SameConvTranspose2d(2, 3, kernel, stride)(x).shape[-1] == size * stride


def test_transposed_convolution_is_the_adjoint():
    # <conv(x), y> = <x, convT(y)> for the same weight: what TensorFlow defines it by.
    conv, transposed = SameConv2d(2, 3).double(), SameConvTranspose2d(3, 2).double()
    transposed.weight.data = conv.weight.data
    conv.bias.data.zero_()
    transposed.bias.data.zero_()
    x, y = (
        torch.randn(1, 2, 8, 8, dtype=torch.float64),
        torch.randn(1, 3, 4, 4, dtype=torch.float64),
    )
    torch.testing.assert_close((conv(x) * y).sum(), (x * transposed(y)).sum())


def test_parameter_counts_layer_by_layer(known):
    expected = known("seed_tables")["params"]
    model = keras_autoencoder()
    encoder, dense = model.encoder
    assert [count(conv) for conv in encoder.convs] + [count(dense)] == expected["encoder_conv"]
    assert count(model.encoder) == expected["encoder_total"] == 96_770
    decoder = model.decoder
    layers = [decoder.dense, *decoder.convs, decoder.output]
    assert [count(layer) for layer in layers] == expected["decoder"]
    assert count(decoder) == expected["decoder_total"] == 246_273
    assert count(keras_vae().encoder) == expected["vae_encoder_two_heads"] == 100_868
    assert sum(b.numel() for b in model.buffers()) == 0  # no non-trainable parameters


def test_shapes_on_the_way():
    maps, sizes = torch.rand(2, 1, 32, 32), []
    for conv in KerasEncoder().convs:
        maps = conv(maps)
        sizes.append(tuple(maps.shape[1:]))
    assert sizes == [(32, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert KerasDecoder()(torch.randn(2, 2)).shape == (2, 1, 32, 32)


def test_images_are_in_zero_one():
    model = keras_autoencoder().eval()
    images = model.reconstruct(torch.rand(3, 1, 32, 32))
    assert images.min() > 0
    assert images.max() < 1


def test_kernel_smaller_than_stride():
    with pytest.raises(ValueError, match="at least the stride"):
        SameConvTranspose2d(1, 1, 1, 2)
