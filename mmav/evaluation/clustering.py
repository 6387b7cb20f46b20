"""How well features cluster into the classes: k-means compared with the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.kept_features import LAST, FeatureMetric
from mmav.registry import METRICS


def cluster_metrics(
    features: np.ndarray, labels: np.ndarray, num_clusters: int | None = None, *, seed: int = 0, repeats: int = 10
) -> dict[str, float]:
    """Clusters features by k-means and compares the clusters with the labels.

    Args:
        features: (clips, D).
        labels: Classes (clips,).
        num_clusters: Number of clusters; as many as there are classes among the labels if not given.
        seed: Seed of k-means' starts.
        repeats: Number of starts, of which the tightest clusters are taken.

    Returns:
        ``ari``, the adjusted Rand index (1 for equal partitions, about 0 for random ones), and ``homogeneity`` (1 if
        every cluster holds clips of one class only), as in Table 5 of the MMT paper. By scikit-learn.

    Raises:
        MmavError: There are fewer clips than clusters.
    """
    from sklearn.cluster import KMeans  # imported here: it takes half a second, and only this metric needs it
    from sklearn.metrics import adjusted_rand_score, homogeneity_score

    clusters = num_clusters or len(np.unique(labels))
    if len(features) < clusters or not clusters:
        raise MmavError(f'{len(features)} clips with a feature cannot make {clusters} clusters; lower num_clusters')
    found = KMeans(clusters, n_init=repeats, random_state=seed).fit_predict(np.asarray(features, dtype=np.float64))
    return dict(ari=float(adjusted_rand_score(labels, found)), homogeneity=float(homogeneity_score(labels, found)))


@METRICS.register_module()
class ClusterMetrics(FeatureMetric):
    """Clusters the features of the test clips and compares the clusters with the labels, see :func:`cluster_metrics`.

    Results: ``ari``, ``homogeneity``.

    Args:
        num_clusters: Number of clusters; as many as there are classes among the test clips if not given.
        part: Which part of the label: 'label' where clips have one, else such as 'verb'.
        seed: Seed of k-means' starts.
        repeats: Number of starts, of which the tightest clusters are taken.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: ``num_clusters`` or ``repeats`` is not positive.
    """

    def __init__(
        self,
        num_clusters: int | None = None,
        part: str = 'label',
        *,
        seed: int = 0,
        repeats: int = 10,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(part=part, collect_device=collect_device, prefix=prefix)
        for name, value in (('num_clusters', num_clusters), ('repeats', repeats)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be a positive number, got {value}')
        self.num_clusters, self.seed, self.repeats = num_clusters, seed, repeats

    def measure(self, features: Mapping[str, np.ndarray], labels: np.ndarray, paths: Sequence[str]) -> dict[str, float]:
        """Clusters the features of all clips."""
        return cluster_metrics(features[LAST], labels, self.num_clusters, seed=self.seed, repeats=self.repeats)
