"""Classic generative models: naive Bayes, Gaussian mixture, PCA, k-means. The only door to scikit-learn.

Each class adds the generative side (sample, log_prob in nats) to scikit-learn's estimator, which is available as
`.estimator`. numpy in, numpy out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecmvae.vae.gaussian import check_count

Array = NDArray[Any]
Model = TypeVar("Model", bound="_Fitted")


class _Fitted:
    """What the models around an estimator with `fit` and `score_samples` share."""

    estimator: Any

    def fit(self: Model, x: ArrayLike) -> Model:
        """Fit to (n, D)."""
        self.estimator.fit(np.asarray(x))
        return self

    def log_prob(self, x: ArrayLike) -> Array:
        """Log p(x) of each row, (n,)."""
        return np.asarray(self.estimator.score_samples(np.asarray(x)))


class NaiveBayes:
    """p(x, y) = p(y) prod_k p(x_k|y) over categorical features; without labels a single class, p(x) = prod_k p(x_k)."""

    def __init__(self, *, smoothing: float = 0.0) -> None:
        """Set Laplace's `smoothing`; 0 is maximum likelihood, theta = n / N."""
        from sklearn.naive_bayes import CategoricalNB

        if smoothing < 0:
            raise ValueError(f"smoothing must be >= 0, got {smoothing}")
        self.estimator = CategoricalNB(alpha=smoothing, force_alpha=True)

    def fit(
        self, table: ArrayLike, *, categories: Sequence[int], labels: ArrayLike | None = None
    ) -> NaiveBayes:
        """Count.

        Args:
            table: (n, K) integers, feature k between 0 and categories[k] - 1.
            categories: Number of values of each feature, seen or not.
            labels: (n,) classes, or None.
        """
        x = np.asarray(table)
        if (
            x.ndim != 2
            or x.shape[1] != len(categories)
            or (x < 0).any()
            or (x >= np.asarray(categories)).any()
        ):
            raise ValueError(
                f"give a table (n, {len(categories)}) of integers below {list(categories)}"
            )
        self.estimator.set_params(min_categories=np.asarray(categories))
        # log of an unseen value's 0 is -inf, which is what it means
        with np.errstate(divide="ignore"):
            self.estimator.fit(
                x, np.zeros(len(x), dtype=int) if labels is None else np.asarray(labels)
            )
        return self

    @property
    def tables(self) -> list[Array]:
        """Theta of each feature, (classes, categories), rows summing to 1."""
        return [np.exp(table) for table in self.estimator.feature_log_prob_]

    def joint_log_prob(self, table: ArrayLike) -> Array:
        """Log p(x, y) for every class, (n, classes); -inf for values never seen."""
        return np.asarray(self.estimator.predict_joint_log_proba(np.asarray(table)))

    def log_prob(self, table: ArrayLike) -> Array:
        """Log p(x), (n,)."""
        return np.asarray(np.logaddexp.reduce(self.joint_log_prob(table), axis=1))

    def posterior(self, table: ArrayLike) -> Array:
        """p(y|x) by Bayes' rule, (n, classes)."""
        return np.asarray(np.exp(self.joint_log_prob(table) - self.log_prob(table)[:, None]))

    def sample(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """Draw classes, then each feature given the class: (n, K) values and (n,) classes."""
        prior = np.exp(self.estimator.class_log_prior_)
        classes = generator.choice(len(prior), check_count(count, "count"), p=prior / prior.sum())
        columns = []
        for table in self.tables:
            bounds = table[classes].cumsum(1)
            # <= skips leading categories of probability 0; the clip guards a last sum that rounds below 1
            drawn = (bounds <= generator.random((count, 1))).sum(1)
            columns.append(np.minimum(drawn, table.shape[1] - 1))
        return np.stack(columns, 1), self.estimator.classes_[classes]


class MixtureModel(_Fitted):
    """sum_n weight_n N(x; mean_n, covariance_n), by expectation-maximisation or from given numbers."""

    def __init__(self, components: int, *, seed: int = 0, **options: Any) -> None:
        """Set up scikit-learn's `GaussianMixture`; `options` go to it."""
        from sklearn.mixture import GaussianMixture

        self.estimator = GaussianMixture(
            check_count(components, "components"), random_state=seed, **options
        )

    @classmethod
    def of(cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike) -> MixtureModel:
        """A mixture of known diagonal Gaussians: weights (C,), means (C, D), variances (C, D)."""
        model = cls(len(np.asarray(weights)), covariance_type="diag")
        model.estimator.weights_ = np.asarray(weights, dtype=float)
        model.estimator.means_ = np.asarray(means, dtype=float)
        model.estimator.covariances_ = np.asarray(variances, dtype=float)
        model.estimator.precisions_cholesky_ = 1.0 / np.sqrt(model.estimator.covariances_)
        return model

    def responsibilities(self, x: ArrayLike) -> Array:
        """p(component|x), (n, C)."""
        return np.asarray(self.estimator.predict_proba(np.asarray(x)))

    def sample(self, count: int) -> tuple[Array, Array]:
        """Draw (n, D) points and their components (n,)."""
        points, components = self.estimator.sample(check_count(count, "count"))
        return points, components


class PrincipalComponents(_Fitted):
    """PCA as an encoder, a decoder and a Gaussian model of the data (Tipping & Bishop's probabilistic PCA).

    scikit-learn's density uses the unbiased covariance, 1 / (n - 1); `linear.ProbabilisticPCA` is the exact maximum
    likelihood.
    """

    def __init__(self, components: int) -> None:
        from sklearn.decomposition import PCA

        self.estimator = PCA(check_count(components, "components"), svd_solver="full")

    def encode(self, x: ArrayLike) -> Array:
        """(n, D) -> (n, L)."""
        return np.asarray(self.estimator.transform(np.asarray(x)))

    def decode(self, codes: ArrayLike) -> Array:
        """(n, L) -> (n, D)."""
        return np.asarray(self.estimator.inverse_transform(np.asarray(codes)))

    def sample(self, count: int, generator: np.random.Generator) -> Array:
        """Draw (n, D) from the fitted Gaussian."""
        mean, covariance = self.estimator.mean_, self.estimator.get_covariance()
        return generator.multivariate_normal(mean, covariance, check_count(count, "count"))


class KMeansModel:
    """k-means: latent inference by the nearest centre."""

    def __init__(self, clusters: int, *, seed: int = 0, **options: Any) -> None:
        from sklearn.cluster import KMeans

        self.estimator = KMeans(
            check_count(clusters, "clusters"), random_state=seed, n_init=1, **options
        )

    def fit(self, x: ArrayLike) -> KMeansModel:
        """Lloyd's algorithm on (n, D)."""
        self.estimator.fit(np.asarray(x))
        return self

    @property
    def inertia(self) -> float:
        """Summed squared distance of the training rows to their centres."""
        return float(self.estimator.inertia_)

    def assign(self, x: ArrayLike) -> Array:
        """Nearest centre of each row, (n,)."""
        return np.asarray(self.estimator.predict(np.asarray(x)))


def mlp_classifier(x: ArrayLike, labels: ArrayLike, seed: int = 0) -> Callable[[ArrayLike], Array]:
    """scikit-learn's fully connected classifier, 128 units wide, fitted to (n, D) and (n,): rows to their classes."""
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((128,), random_state=seed, early_stopping=True, n_iter_no_change=5)
    network.fit(np.asarray(x), np.asarray(labels))
    return lambda rows: np.asarray(network.predict(np.asarray(rows)))


def linear_classifier(
    x: ArrayLike, labels: ArrayLike, seed: int = 0
) -> Callable[[ArrayLike], Array]:
    """Logistic regression fitted to (n, D) and (n,): rows to their classes."""
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(random_state=seed, max_iter=1000)
    classifier.fit(np.asarray(x), np.asarray(labels))
    return lambda rows: np.asarray(classifier.predict(np.asarray(rows)))


def forest_importances(
    x: ArrayLike,
    labels: ArrayLike,
    test_x: ArrayLike,
    test_labels: ArrayLike,
    seed: int = 0,
    trees: int = 50,
) -> tuple[Array, float]:
    """How important each column of x (n, D) is to a random forest for the labels (n,), (D,) summing to 1.

    The second value is the forest's balanced accuracy on the test rows.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import recall_score

    # With every column available in every split, columns that carry nothing are left alone.
    forest = RandomForestClassifier(
        trees, max_features=None, min_samples_leaf=3, class_weight="balanced", random_state=seed
    )
    forest.fit(np.asarray(x), np.asarray(labels))
    truth, found = np.asarray(test_labels), forest.predict(np.asarray(test_x))
    accuracy = recall_score(
        truth, found, labels=np.unique(truth), average="macro", zero_division=0.0
    )
    return np.asarray(forest.feature_importances_), float(accuracy)


def digits() -> tuple[Array, Array]:
    """scikit-learn's 1,797 handwritten digits: images (n, 8, 8) float32 in [0, 1], labels (n,). Needs no download."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / 16.0).astype(np.float32), bunch.target.astype(np.int64)
