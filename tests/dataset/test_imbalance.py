"""Classes of unequal size are named."""

from stages.dataset.imbalance import imbalance


def test_a_class_with_less_than_half_of_the_images_of_another_is_named():
    assert imbalance([1000, 400, 900], ["cat", "dog", "cow"]).startswith(
        "cat has 1,000 training images and dog has 400"
    )


def test_of_balanced_classes_nothing_is_said():
    assert imbalance([1000, 500], ["cat", "dog"]) is None
