"""Images as points: principal components, UMAP, and measures of how well either separates the classes."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

COMPONENTS = 30
# UMAP starts from so many components. Its settings are those of the published recipe.
UMAP_COMPONENTS = 50
UMAP_NEIGHBORS = 15
UMAP_MIN_DIST = 0.001
# Neighbours whose labels are compared.
NEIGHBORS = 10


def principal_components(images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, height, width) as principal components (n, count) and the variance each explains.

    Fewer than `count` where there are not as many pixels. The variance is a share (count,) of the whole.
    """
    pixels = images.reshape(len(images), -1)
    pca = PCA(min(count, *pixels.shape), svd_solver="covariance_eigh")
    return pca.fit_transform(pixels), pca.explained_variance_ratio_


def umap_embedding(images: np.ndarray, seed: int) -> np.ndarray:
    """Return float32 points (n, 2) that keep neighbours together, a function of `seed`.

    (McInnes, Healy & Melville, "UMAP: Uniform Manifold Approximation and Projection", 2018.)
    """
    import sys
    import warnings

    # UMAP imports TensorFlow, where there is one, for a variant that is not used here: seconds for nothing.
    sys.modules.setdefault("tensorflow", None)
    from umap import UMAP

    components, _ = principal_components(images, UMAP_COMPONENTS)
    # Found here: UMAP compiles its own search, and up to 4,096 images it asks Python for each distance.
    neighbors = NearestNeighbors(n_neighbors=UMAP_NEIGHBORS).fit(components)
    distances, indices = neighbors.kneighbors(components)
    embed = UMAP(
        n_neighbors=UMAP_NEIGHBORS,
        min_dist=UMAP_MIN_DIST,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(indices, distances, None),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        return embed.fit_transform(components)


def purity(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return measures of how well `points` (n, dimensions) separate the classes.

    `neighbor_purity` is the share of the nearest `NEIGHBORS` points that have the label of a point, 0 to 1;
    `silhouette` is -1 to 1 (Rousseeuw, "Silhouettes", 1987).
    """
    neighbors = min(NEIGHBORS, len(points) - 1)
    nearest = NearestNeighbors(n_neighbors=neighbors).fit(points).kneighbors(return_distance=False)
    return {
        "neighbor_purity": float(np.mean(labels[nearest] == labels[:, None])),
        # It takes two classes, and one of them with two points.
        "silhouette": float(silhouette_score(points, labels)) if 1 < len(np.unique(labels)) < len(labels) else np.nan,
    }


def outliers(components: np.ndarray, labels: np.ndarray, count: int) -> pd.DataFrame:
    """Return the `count` images of each class that lie farthest from their class, farthest first.

    Columns: class, index and distance, the Euclidean one of the principal `components` (n, count) to the mean of the
    class, each divided by its standard deviation in the class (after Mahalanobis, 1936).
    """
    rows = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = components[members]
        spread = own.std(axis=0)
        scaled = (own - own.mean(axis=0)) / np.where(spread > 0, spread, 1)
        distance = np.sqrt((scaled**2).sum(axis=1))
        rows += [
            {"class": label, "index": members[position], "distance": distance[position]}
            for position in np.argsort(-distance, kind="stable")[:count]
        ]
    return pd.DataFrame(rows)
