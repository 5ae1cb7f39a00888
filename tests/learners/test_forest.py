"""What is said before a forest is grown, and the forest."""

import re

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.learners.forest import check_memory, grow
from stages.params.schema import RandomForest
from stages.process.errors import UserError
from tests.conftest import PROJECT


def test_more_features_than_memory_are_refused_with_the_number_that_fits():
    with pytest.raises(UserError, match="train_samples: the features of 100,000,000,000 images need") as error:
        check_memory(100_000_000_000, 324)
    fits = int(re.search(r"at most ([\d,]+)\.", str(error.value))[1].replace(",", ""))
    # Less, because other processes take memory meanwhile.
    check_memory(fits * 3 // 4, 324)


def test_the_forest_is_grown_as_the_params_say():
    content = YAML(typ="safe").load(PROJECT / "params.yaml")["train"]["random_forest"]
    wanted = {"n_estimators": 7, "max_features": 3, "max_depth": 2, "min_samples_leaf": 5, "bootstrap": True}
    random = np.random.default_rng(0)
    features, labels = random.random((200, 6)).astype(np.float32), random.integers(0, 3, 200)
    forest = grow(RandomForest.model_validate({**content, **wanted}), 4, features, labels)
    assert {name: forest.get_params()[name] for name in wanted} == wanted
    assert forest.get_params()["random_state"] == 4
    assert len(forest.estimators_) == 7
    assert max(tree.get_depth() for tree in forest.estimators_) == 2
