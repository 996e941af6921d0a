"""The face VAE: its shapes, and its loss in the lecture's notation."""

import pytest
import torch

from ecmvae.vae.celeba import BETA, face_vae


@pytest.mark.parametrize("size", [32, 64])
def test_shapes_and_parts(size):
    model = face_vae(size)
    output = model(torch.rand(4, 3, size, size))
    assert output.parameters.shape == (4, 3, size, size)
    assert output.z.shape == (4, 200)
    kinds = [type(layer).__name__ for layer in model.encoder[0].layers]
    assert kinds == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 4


def test_loss_is_the_lectures_up_to_a_constant():
    # Foster: 2000 * mean squared error + KL. Two batches differ by the same amount in both notations.
    model = face_vae(32).eval()
    ours, lectures = [], []
    for _ in range(2):
        x = torch.rand(4, 3, 32, 32)
        output = model(x)
        ours.append(output.loss)
        lectures.append(BETA * ((x - output.parameters) ** 2).mean() + output.kl.mean())
    assert BETA == 2000
    torch.testing.assert_close(ours[0] - ours[1], lectures[0] - lectures[1], rtol=1e-4, atol=1e-2)


def test_size_that_does_not_halve():
    with pytest.raises(ValueError, match="multiple of 16"):
        face_vae(40)
