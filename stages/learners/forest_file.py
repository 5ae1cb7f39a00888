"""The random forest on disk: without pickle, and with stable bytes."""

import copy
import inspect
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import TREE_LEAF, Tree

from stages.dataset.features import FEATURES
from stages.learners.archive import check_parts, read_member, rewrite, unusable
from stages.learners.temperature import TEMPERATURES

MEMBERS = r"schema\.json|\d+\.npy"
# The parts of a forest of ours, by the way that skops loads them. The list is never taken from the file, and the one
# that skops trusts by itself has hundreds of types more.
TRUSTED = {
    "DictNode": {"builtins.dict"},
    "JsonNode": {"builtins.str"},
    "ListNode": {"builtins.list"},
    "NdArrayNode": {"numpy.int64", "numpy.ndarray"},
    "ObjectNode": {"sklearn.ensemble._forest.RandomForestClassifier", "sklearn.tree._classes.DecisionTreeClassifier"},
    "TreeNode": {"sklearn.tree._tree.Tree"},
    "TupleNode": {"builtins.tuple"},
    "TypeNode": {"builtins.str"},
}


def save_forest(forest: RandomForestClassifier, features: str, temperature: float | None, path: Path) -> None:
    """Write `forest`, the name of its `features` and its temperature; equal trees give equal bytes."""
    # How many threads trained it is no part of the model; one is fastest for a single image.
    forest = _as_grown(forest).set_params(n_jobs=None)
    # A forest that is loaded anywhere still names its features, and what its shares of votes are to be divided by.
    forest.image_features, forest.temperature = features, temperature
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "forest.skops"
        skops.io.dump(forest, saved)
        # Deflated it is a sixth of the size.
        rewrite(saved, path, _renumbered, compressed=True)


def _as_grown(forest: RandomForestClassifier) -> RandomForestClassifier:
    """Return a copy whose equal parameters are one object each, as they are in a forest that was never pickled.

    skops writes down which values are one object, and pickle makes several objects of one number.
    """
    forest = _with_values_of(forest, _defaults(forest))
    forest.estimator = forest.estimator_ = _with_values_of(forest.estimator, _defaults(forest.estimator))
    # A tree has the forest's parameters, and beyond them its defaults.
    values = _defaults(forest.estimator) | forest.get_params(deep=False)
    forest.estimators_ = [_with_values_of(tree, values) for tree in forest.estimators_]
    return forest


def _defaults(model: BaseEstimator) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(type(model)).parameters.items()}


def _with_values_of(model: BaseEstimator, values: dict[str, Any]) -> BaseEstimator:
    """Return a copy that has, for each parameter equal to the one of `values`, that very object."""
    copied = copy.copy(model)
    for name, value in model.get_params(deep=False).items():
        known = values.get(name)
        if isinstance(value, (str, int, float)) and type(value) is type(known) and value == known:
            setattr(copied, name, known)
    return copied


def _renumbered(members: dict[str, bytes]) -> dict[str, bytes]:
    """Replace the memory addresses that skops uses as names by numbers in the order of appearance."""
    numbers: dict[bytes, int] = {}

    def number(match: re.Match) -> bytes:
        return match[1] + str(numbers.setdefault(match[2], len(numbers))).encode() + match[3]

    schema = re.sub(rb'("__id__": )(\d+)()', number, members["schema.json"])
    schema = re.sub(rb'("file": ")(\d+)(\.npy")', number, schema)
    renumbered = {"schema.json": schema}
    for name, content in members.items():
        stem, _, suffix = name.rpartition(".")
        if suffix == "npy":
            renumbered[f"{numbers[stem.encode()]}.npy"] = _without_padding(content)
    return renumbered


def _without_padding(npy: bytes) -> bytes:
    """Zero the bytes between the fields of a structured array: they hold whatever lay in memory."""
    array = np.load(io.BytesIO(npy), allow_pickle=False)
    if array.dtype.names is None:
        return npy
    # Not zeros_like: it fills the fields only.
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    file = io.BytesIO()
    np.save(file, clean)
    return file.getvalue()


def load_forest(path: Path) -> tuple[RandomForestClassifier, str, float | None]:
    """Load a forest, the name of its features, one of `FEATURES`, and its temperature, None where it has none.

    Raises `UserError` for a file with types beyond `TRUSTED`, for one whose trees lead out of themselves, and for a
    temperature that no fit gives.
    """
    try:
        check_parts(json.loads(read_member(path, "schema.json", MEMBERS)), _check_type)
        forest = skops.io.load(path, trusted=sorted(TRUSTED["TreeNode"]))
        # Each of the types may stand anywhere in a file.
        if type(forest) is not RandomForestClassifier or {*map(type, forest.estimators_)} != {DecisionTreeClassifier}:
            raise ValueError("it is no forest of trees")
        if forest.image_features not in FEATURES:
            raise ValueError(f"unknown features {forest.image_features!r}")
        # Forests of earlier commits have none.
        temperature = getattr(forest, "temperature", None)
        if temperature is not None and round(1000 * temperature) not in TEMPERATURES:
            raise ValueError(f"a temperature of {temperature!r}")
        for estimator in forest.estimators_:
            _check_tree(estimator.tree_, forest.n_features_in_)
        return forest, forest.image_features, temperature
    # The exceptions of skops for a file that somebody made up are not documented.
    except Exception as error:
        raise unusable(path, error) from None


def _check_type(part: dict[str, Any]) -> None:
    if not part.keys().isdisjoint(("__loader__", "__module__", "__class__")):
        loader, name = part.get("__loader__"), f"{part.get('__module__')}.{part.get('__class__')}"
        if name not in TRUSTED.get(loader, ()):
            raise ValueError(f"{name} ({loader}) is no part of a forest of this project")


def _check_tree(tree: Tree, features: int) -> None:
    """Raise `ValueError` where a node leads elsewhere than further down, or asks for a feature that images lack.

    scikit-learn follows both without a look: it would read other memory, or never end.
    """
    if not tree.node_count:
        raise ValueError("a tree without nodes")
    numbers = np.arange(tree.node_count)
    inner = tree.children_left != TREE_LEAF
    for children in (tree.children_left, tree.children_right):
        if not ((numbers < children) & (children < tree.node_count))[inner].all():
            raise ValueError("a tree whose nodes lead out of it")
    if not ((tree.feature >= 0) & (tree.feature < features))[inner].all():
        raise ValueError("a tree that asks for features that there are not")
