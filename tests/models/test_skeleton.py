"""Networks without memory."""

import torch
from torch import nn

from ecmvae.models.skeleton import skeletons


def test_shapes_are_those_of_the_network_and_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with skeletons():
        skeleton = nn.Sequential(nn.Conv2d(3, 5, 7), nn.BatchNorm2d(5), nn.Linear(4, 2))
        torch.randn(3)  # not even by what is built beside them
    assert torch.equal(torch.get_rng_state(), before)
    network = nn.Sequential(nn.Conv2d(3, 5, 7), nn.BatchNorm2d(5), nn.Linear(4, 2))
    shapes, wanted = (
        {name: tensor.shape for name, tensor in each.state_dict().items()}
        for each in (skeleton, network)
    )
    assert shapes == wanted
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())


def test_afterwards_networks_have_values_again() -> None:
    with skeletons():
        pass
    layer = nn.Linear(4, 4)
    assert not layer.weight.is_meta
    assert layer.weight.std() > 0
