"""Latent arithmetic against known answers and definitions."""

import numpy as np
import pytest
import torch
from scipy import stats

from ecmvae.vae import latent_space as latent
from ecmvae.vae.fully_connected import mlp_vae


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_morph_known_answers(known):
    case = known("latent_ops")["lerp"]
    a, b = double(case["a"]), double(case["b"])
    found = latent.morph(a, b, double(case["alpha"]))
    torch.testing.assert_close(found, double(case["out"]), rtol=0, atol=1e-12)
    assert torch.equal(found[0], a)
    assert torch.equal(found[-1], b)


def test_attribute_arithmetic_known_answers(known):
    case = known("latent_ops")["arithmetic"]
    direction = latent.attribute_direction(double(case["pos"]), double(case["neg"]))
    assert direction.tolist() == case["direction"]
    assert (double(case["z"]) + case["alpha"] * direction).tolist() == case["out"]


def test_an_attribute_direction_edits_a_linear_model_as_the_closed_form_says():
    # Pictures x = mean + f_1 a_1 + f_2 a_2 of two independent binary factors, a_1 and a_2 orthogonal; an encoder that
    # projects on (a_1, a_2). Then mean code with f_1 minus mean code without is the code of a_1, and adding it to a
    # picture without f_1 gives the picture with it, f_2 unchanged.
    basis = torch.linalg.qr(torch.randn(12, 2, dtype=torch.float64))[0] * torch.tensor([3.0, 0.5])
    middle = torch.randn(12, dtype=torch.float64)
    factors = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64).repeat(5, 1)
    pictures = middle + factors @ basis.T
    codes = (pictures - middle) @ basis
    direction = latent.attribute_direction(codes[factors[:, 0] == 1], codes[factors[:, 0] == 0])
    torch.testing.assert_close(direction, double([9.0, 0.0]))  # (|a_1|^2, 0)
    decoded = middle + (codes + direction) @ torch.linalg.pinv(basis)
    expected = middle + (factors + double([1.0, 0.0])) @ basis.T
    torch.testing.assert_close(decoded, expected)
    # An attribute that goes with another one takes that one along: the share of the difference of its means.
    weights = torch.tensor([1, 0, 0, 1]).bool().repeat(5)  # f_1 and f_2 always together
    both = latent.attribute_direction(
        codes[weights & (factors[:, 0] == 1)], codes[weights & (factors[:, 0] == 0)]
    )
    torch.testing.assert_close(both, double([9.0, 0.25]))


def test_traverse_changes_only_the_chosen_dimensions():
    code, values = torch.randn(5), torch.linspace(-2, 2, 4)
    line = latent.traverse(code, (3,), values)
    assert torch.equal(line[:, 3], values)
    grid = latent.traverse(code, (1, 3), values)
    assert grid.shape == (4, 4, 5)
    assert torch.equal(grid[2, :, 3], values)
    assert torch.equal(grid[:, 2, 1], values)
    for kept in (0, 2, 4):
        assert (grid[..., kept] == code[kept]).all()
    own = latent.traverse(code, (1, 3), code[[1]])
    assert own[0, 0, 1] == code[1]


def test_manifold_grid_known_answers(known):
    case = known("mog_nonlinear_manifold")["manifold_grid_inverse_cdf"]
    grid = latent.manifold_grid(10)
    np.testing.assert_allclose(grid[:, 0, 0].numpy(), case["z"], atol=1e-12)
    np.testing.assert_allclose(grid[0, :, 1].numpy(), case["z"], atol=1e-12)
    torch.testing.assert_close(grid, -grid.flip(0, 1))


def test_p_values_and_uniformity_against_scipy():
    codes = 1.3 * torch.randn(500, 3, dtype=torch.float64) + 0.2
    np.testing.assert_allclose(
        latent.p_values(codes).numpy(), stats.norm.cdf(codes.numpy()), atol=1e-12
    )
    expected = [stats.kstest(column, "norm").statistic for column in codes.numpy().T]
    np.testing.assert_allclose(latent.uniformity(codes).numpy(), expected, atol=1e-12)
    assert latent.uniformity(torch.randn(5000, 2)).max() < 0.05


def test_box_samples_fill_the_box():
    codes = torch.tensor([[-3.0, 1.0], [5.0, 2.0], [0.0, 1.5]])
    drawn = latent.box_samples(codes, 20_000, torch.Generator().manual_seed(0))
    assert drawn.amin(0).tolist() == pytest.approx([-3.0, 1.0], abs=0.01)
    assert drawn.amax(0).tolist() == pytest.approx([5.0, 2.0], abs=0.01)
    assert drawn.mean(0).tolist() == pytest.approx([1.0, 1.5], abs=0.1)


def test_nearest_against_brute_force():
    queries, database = torch.randn(7, 3), torch.randn(40, 3)
    distances, indices = latent.nearest(queries, database, 5)
    table = np.linalg.norm(queries.numpy()[:, None] - database.numpy()[None], axis=-1)
    assert np.array_equal(indices.numpy(), table.argsort(1)[:, :5])
    np.testing.assert_allclose(distances.numpy(), np.sort(table, 1)[:, :5], atol=1e-5)


def test_recall_of_separate_clusters_and_of_noise():
    labels = torch.arange(400) % 4
    codes = torch.eye(4)[labels] * 20 + torch.randn(400, 4)
    assert latent.recall_at_k(codes[:100], labels[:100], codes[100:], labels[100:]) == 1.0
    noise = torch.randn(400, 4)
    assert latent.recall_at_k(
        noise[:100], labels[:100], noise[100:], labels[100:]
    ) == pytest.approx(0.25, abs=0.15)


def test_roughness_of_a_linear_decoder_is_its_stretch():
    codes = torch.randn(50, 3)
    assert latent.roughness(lambda z: 4.0 * z, codes, 0.1) == pytest.approx(0.4, rel=1e-3)


def test_edit_keeps_its_five_steps():
    model, x = mlp_vae((6,), 8, 2).eval(), torch.rand(3, 6)
    unchanged = latent.edit(model, x, lambda z: z)
    torch.testing.assert_close(unchanged.images, model.reconstruct(x))
    moved = latent.edit(model, x, lambda z: z + 1.0)
    torch.testing.assert_close(moved.edited, model.encode(x).mean + 1.0)
    torch.testing.assert_close(moved.images, model.decode(moved.edited).sigmoid())
    sampled = latent.edit(model, x, lambda z: z, sample=True)
    assert set(sampled.images.unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(sampled.z, sampled.posterior.mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent.traverse(torch.zeros(3), (5,), torch.zeros(2)), "between 0 and 2"),
        (lambda: latent.traverse(torch.zeros(3), (0, 1, 2), torch.zeros(2)), "one or two"),
        (lambda: latent.manifold_grid(0), "side"),
        (
            lambda: latent.attribute_direction(torch.zeros(0, 2), torch.zeros(1, 2)),
            "with and without",
        ),
        (lambda: latent.box_samples(torch.zeros(2, 2), 0), "count"),
        (lambda: latent.nearest(torch.zeros(1, 2), torch.zeros(3, 2), 4), "between 1 and 3"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
