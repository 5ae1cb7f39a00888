"""What is said before a forest is grown."""

import re

import pytest

from stages.learners.forest import check_memory
from stages.process.errors import UserError


def test_more_features_than_memory_are_refused_with_the_number_that_fits():
    with pytest.raises(UserError, match="train_samples: the features of 100,000,000,000 images need") as error:
        check_memory(100_000_000_000, 324)
    fits = int(re.search(r"at most ([\d,]+)\.", str(error.value))[1].replace(",", ""))
    # Less, because other processes take memory meanwhile.
    check_memory(fits * 3 // 4, 324)
