"""Classic models against the lectures' printed numbers and exact formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from ecmvae.vae.classic import KMeansModel, MixtureModel, NaiveBayes, PrincipalComponents, digits

FEATURES = ("topType", "hairColor", "clothingColor", "accessoriesType", "clothingType")
EXAMPLE = ("LongHairStraight", "Red", "White", "Round", "ShirtScoopNeck")


@pytest.fixture
def faces(known):
    """A table of 50 faces with the lecture's counts of every value, and the names of the values."""
    counts = known("seed_tables")["naive_bayes"]["counts"]
    names = [list(counts[feature]) for feature in FEATURES]
    columns = [
        np.repeat(np.arange(len(counts[feature])), list(counts[feature].values()))
        for feature in FEATURES
    ]
    return np.stack(columns, 1), names


def fit(faces, smoothing=0.0):
    table, names = faces
    return NaiveBayes(smoothing=smoothing).fit(table, categories=[len(values) for values in names])


def test_naive_bayes_known_answers(known, faces):
    case = known("seed_tables")["naive_bayes"]
    model = fit(faces)
    for theta, feature in zip(model.tables, FEATURES, strict=True):
        np.testing.assert_allclose(
            theta[0], np.array(list(case["counts"][feature].values())) / 50, atol=1e-15
        )
        entropy = stats.entropy(theta[0])
        assert entropy == pytest.approx(case["entropy_per_feature"][feature], abs=1e-12)
    ratio = {name: theta[0] for name, theta in zip(FEATURES, model.tables, strict=True)}
    assert math.prod(len(theta) for theta in ratio.values()) == case["n_combinations"] == 4032
    assert (
        math.prod(int((theta > 0).sum()) for theta in ratio.values())
        == case["support_size_with_mle"]
        == 3024
    )
    assert sum(len(theta) - 1 for theta in ratio.values()) == case["free_parameters"] == 23


def example(faces, known):
    """The example is the combination whose five probabilities the lecture multiplies: .46 .16 .44 .38 .44."""
    _, _names = faces
    counts = known("seed_tables")["naive_bayes"]["counts"]
    wanted = dict(zip(FEATURES, (23, 8, 22, 19, 22), strict=True))
    wanted["accessoriesType"], wanted["clothingType"] = 22, 19
    return [[list(counts[feature].values()).index(wanted[feature]) for feature in FEATURES]]


def test_naive_bayes_example(known, faces):
    case = known("seed_tables")["naive_bayes"]
    row = example(faces, known)
    assert tuple(names[index] for names, index in zip(faces[1], row[0], strict=True)) == EXAMPLE
    assert fit(faces).log_prob(row)[0] == pytest.approx(math.log(0.0054146048), abs=1e-12)
    assert math.exp(fit(faces, 1.0).log_prob(row)[0]) == pytest.approx(
        case["p_example_laplace_1"], abs=1e-12
    )


def test_values_never_seen_have_no_probability(faces):
    assert fit(faces).log_prob([[1, 0, 1, 0, 0]])[0] == -np.inf
    assert np.isfinite(fit(faces, 1.0).log_prob([[1, 0, 1, 0, 0]])[0])


def test_naive_bayes_samples_have_the_frequencies(faces):
    model = fit(faces)
    drawn, _ = model.sample(20_000, np.random.default_rng(0))
    for column, theta in zip(drawn.T, model.tables, strict=True):
        observed = np.bincount(column, minlength=theta.shape[1])
        seen = theta[0] > 0
        assert observed[~seen].sum() == 0
        assert stats.chisquare(observed[seen], 20_000 * theta[0][seen]).pvalue > 0.001


def test_bayes_rule_joins_generative_and_discriminative(faces):
    table, names = faces
    labels = (np.arange(50) % 3 == 0).astype(int)
    model = NaiveBayes(smoothing=1.0).fit(table, categories=[len(v) for v in names], labels=labels)
    prior = np.array([(labels == 0).mean(), (labels == 1).mean()])
    likelihood = np.exp(model.joint_log_prob(table)) / prior  # p(x|y)
    evidence = (likelihood * prior).sum(1)  # p(x)
    np.testing.assert_allclose(np.exp(model.log_prob(table)), evidence, rtol=1e-12)
    np.testing.assert_allclose(
        model.posterior(table), likelihood * prior / evidence[:, None], rtol=1e-12
    )


def test_naive_bayes_on_pixels_forgets_what_neighbours_share(known):
    images = (digits()[0] * 15).round().astype(int)
    model = NaiveBayes().fit(images.reshape(len(images), -1), categories=[16] * 64)
    drawn = model.sample(1500, np.random.default_rng(0))[0].reshape(-1, 8, 8)

    def neighbour_correlation(x):
        left, right = x[:, :, 2:5], x[:, :, 3:6]
        pairs = [
            np.corrcoef(left[:, r, c], right[:, r, c])[0, 1] for r in range(2, 6) for c in range(3)
        ]
        return np.mean(pairs)

    assert abs(neighbour_correlation(drawn)) < 0.05
    # Every pixel alone has the right histogram.
    observed = np.bincount(drawn[:, 4, 4], minlength=16)
    expected = np.bincount(images[:, 4, 4], minlength=16) / len(images) * 1500
    assert stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 0.001
    assert 1024 * math.log10(256) == pytest.approx(
        known("seed_tables")["log10_256_pow_1024"], abs=1e-9
    )


def test_mixture_known_answers(known):
    case = known("mog_nonlinear_manifold")["mog"]
    model = MixtureModel.of(
        case["weights"], np.array(case["mu"])[:, None], np.array(case["sigma"])[:, None] ** 2
    )
    x = np.array(case["x"])[:, None]
    np.testing.assert_allclose(model.log_prob(x), case["logpdf"], atol=1e-12)
    responsibilities = np.array(case["responsibilities"])
    if responsibilities.shape[0] == 3:
        responsibilities = responsibilities.T
    np.testing.assert_allclose(model.responsibilities(x), responsibilities, atol=1e-12)
    points, components = model.sample(50_000)
    assert points.mean() == pytest.approx(case["mean"], abs=4 * math.sqrt(case["var"] / 50_000))
    assert points.var() == pytest.approx(case["var"], rel=0.03)
    np.testing.assert_allclose(np.bincount(components) / 50_000, case["weights"], atol=0.01)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_em_never_lowers_the_likelihood():
    x = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([[0, 0], [3, 1], [0, 4]], 100, 0)
    model = MixtureModel(3, warm_start=True, max_iter=1, init_params="random")
    values = [model.fit(x).log_prob(x).mean() for _ in range(25)]
    assert np.diff(values).min() > -1e-9
    assert values[-1] > values[0] + 0.1


def test_pca_of_the_lectures_five_points(known):
    case = known("seed_tables")["pca"]
    points = np.array(list(case["points"].values()))
    assert np.abs(points.sum(0)).max() < 1e-12
    model = PrincipalComponents(1).fit(points)
    sign = np.sign(model.estimator.components_[0, 0])
    np.testing.assert_allclose(sign * model.estimator.components_[0], case["component"], atol=1e-12)
    codes = sign * model.encode(points)[:, 0]
    np.testing.assert_allclose(codes, case["encoded"], atol=1e-12)
    np.testing.assert_allclose(codes, case["printed_encoded"], atol=0.005)
    decoded = model.decode(model.encode(points))
    np.testing.assert_allclose(decoded, case["printed_decoded"], atol=0.005)
    assert ((decoded - points) ** 2).sum() == pytest.approx(case["recon_sse"], abs=1e-12)


def test_pca_is_a_gaussian_model(known):
    case = known("ppca")
    x = np.array(case["X"])
    model = PrincipalComponents(2).fit(x)
    assert model.log_prob(x).mean() == pytest.approx(
        case["sklearn_pca_score_uses_unbiased_cov"], abs=1e-8
    )
    drawn = model.sample(50_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(drawn.T), model.estimator.get_covariance(), atol=0.35)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_kmeans_assigns_the_nearest_centre_and_lowers_inertia():
    x = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([[0, 0], [5, 1], [0, 6]], 100, 0)
    inertias = [
        KMeansModel(3, max_iter=steps, init="random", seed=1).fit(x).inertia
        for steps in range(1, 8)
    ]
    assert np.diff(inertias).max() <= 1e-9
    model = KMeansModel(3).fit(x)
    distances = np.linalg.norm(x[:, None] - model.estimator.cluster_centers_[None], axis=-1)
    assert np.array_equal(model.assign(x), distances.argmin(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NaiveBayes(smoothing=-1.0), "smoothing"),
        (lambda: NaiveBayes().fit([[3]], categories=[3]), "integers below"),
        (lambda: MixtureModel(0), "components"),
        (lambda: PrincipalComponents(0), "components"),
        (lambda: KMeansModel(0), "clusters"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
