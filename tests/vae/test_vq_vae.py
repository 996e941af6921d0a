"""VQ-VAE against loops, its moving average against a plain mean, its bound against an exact sum over all codes."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.vq_vae import VQVAE, CodeBook


def vq_vae(**options):
    torch.manual_seed(0)
    options = {"codes": 4, **options}
    model = VQVAE(
        nn.Linear(5, 6), nn.Linear(6, 5), 3, 2, likelihood=GaussianLikelihood(0.5), **options
    )
    with torch.no_grad():
        model.book.entries.copy_(torch.randn(options["codes"], 2))
    return model


def test_every_position_takes_its_nearest_entry():
    model, x = vq_vae(), torch.randn(4, 5)
    flat = model.encoder(x)
    for row, code, chosen in zip(flat, model.encode(x), model.indices(x), strict=True):
        for position in range(3):
            vector = [row[position].item(), row[3 + position].item()]  # D on the slower axis
            distances = [math.dist(vector, entry) for entry in model.book.entries.tolist()]
            best = distances.index(min(distances))
            assert chosen[position].item() == best
            assert [code[position].item(), code[3 + position].item()] == model.book.entries[
                best
            ].tolist()


@pytest.mark.parametrize("decay", [None, 0.9])
def test_the_loss_by_hand(decay):
    model, x = vq_vae(decay=decay, commitment=0.25).eval(), torch.randn(4, 5)
    output = model(x)
    distance = (model.vectors(x) - model.book.entries[model.indices(x)]).square().sum((1, 2)).mean()
    expected = -output.log_likelihood.mean() + (1.25 if decay is None else 0.25) * distance
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.parameters, model.decode(model.encode(x)))


def test_the_gradient_passes_straight_through():
    model, x = vq_vae(commitment=0.0).eval(), torch.randn(4, 5)
    (found,) = torch.autograd.grad(model(x).loss, model.encoder.weight)
    code = model.encode(x).detach().requires_grad_()
    loss = -model.likelihood.log_prob(model.decode(code), x).mean()
    (of_code,) = torch.autograd.grad(loss, code)
    torch.testing.assert_close(found, of_code.T @ x)


def test_the_book_is_the_mean_of_the_vectors_that_chose_it():
    book = CodeBook(2, 1, decay=0.5)
    book.entries.copy_(torch.tensor([[0.0], [10.0]]))
    book.sums.copy_(book.entries)
    vectors = torch.tensor([[1.0], [2.0], [3.0]])
    for _ in range(40):
        book.follow(vectors, book.nearest(vectors))
    assert book.entries[0].item() == pytest.approx(2.0, abs=1e-6)
    assert book.entries[1].item() == pytest.approx(10.0)  # nobody chose it: it keeps its place


def test_only_training_moves_the_book():
    model, x = vq_vae(), torch.randn(4, 5)
    before = model.book.entries.clone()
    model.eval()(x)
    assert torch.equal(model.book.entries, before)
    model.train()(x)
    assert not torch.equal(model.book.entries, before)
    learnt = vq_vae(decay=None)
    learnt(x).loss.backward()
    assert learnt.book.entries.grad.abs().sum() > 0


def test_the_bound_lies_below_the_exact_log_likelihood():
    """p(x) = sum over all 4^3 codes of p(x|z) / 64."""
    model, x = vq_vae().double(), torch.randn(6, 5, dtype=torch.float64)
    parts = []
    for chosen in itertools.product(range(4), repeat=3):
        code = model.book.entries[list(chosen)].T.flatten()[None].expand(6, -1)
        parts.append(model.likelihood.log_prob(model.decode(code), x))
    exact = torch.logsumexp(torch.stack(parts), 0) - 3 * math.log(4)
    with torch.no_grad():
        bound = model.elbo(x)
    assert (bound <= exact + 1e-9).all()
    assert model.prior.log_prob(model.encode(x)).tolist() == pytest.approx([-3 * math.log(4)] * 6)


def test_samples_are_made_of_entries_and_a_copy_has_its_own_book():
    model = vq_vae()
    code = model.prior.sample(50, torch.zeros(1), torch.Generator().manual_seed(0))
    entries = {tuple(entry) for entry in model.book.entries.tolist()}
    assert {
        tuple(vector) for vector in code.view(50, 2, 3).transpose(1, 2).flatten(0, 1).tolist()
    } == entries
    assert model.sample(3).shape == (3, 5)
    twin = copy.deepcopy(model)
    twin.book.entries.zero_()
    assert not twin.prior.sample(4, torch.zeros(1)).any()
    assert model.prior.sample(4, torch.zeros(1)).any()
    assert not [name for name in model.state_dict() if name.startswith("prior")]


def test_perplexity_counts_the_entries_in_use():
    model = vq_vae()
    with torch.no_grad():
        model.book.entries.copy_(100.0 + torch.arange(8.0).view(4, 2))
    assert model(torch.randn(4, 5)).named()["perplexity"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("options", [{"commitment": -1.0}, {"decay": 1.0}, {"codes": 0}])
def test_bad_settings_are_refused(options):
    with pytest.raises(ValueError, match=r"must be"):
        VQVAE(nn.Linear(5, 6), nn.Linear(6, 5), 3, 2, **options)
