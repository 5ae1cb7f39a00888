"""Preparing images, the same for every model."""

import numpy as np
import pytest

from stages.dataset.images import prepare
from stages.dataset.scaling import scaled


def bar(slant: float, height: int = 28, width: int = 28) -> np.ndarray:
    """A uint8 image (1, height, width) of a bar that moves `slant` columns per row."""
    rows, columns = np.mgrid[:height, :width]
    middle = (width - 1) / 2 + slant * (rows - (height - 1) / 2)
    inside = np.abs(rows - (height - 1) / 2) < height / 3
    return np.rint(255 * np.exp(-((columns - middle) ** 2) / 4) * inside).astype(np.uint8)[None]


def slant(image: np.ndarray) -> float:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    down = rows - np.average(rows, weights=image)
    across = columns - np.average(columns, weights=image)
    return np.average(down * across, weights=image) / np.average(down**2, weights=image)


def test_scaled_images_run_from_0_to_1():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(scaled(images), np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16))


@pytest.mark.parametrize("size", [(28, 28), (20, 32)])
@pytest.mark.parametrize("given", [-0.5, -0.2, 0.3])
def test_deskewing_makes_upright_what_is_slanted(given, size):
    image = bar(given, *size)
    assert slant(image[0]) == pytest.approx(given, abs=0.02)
    upright = prepare(image, deskew=True)
    assert upright.dtype == np.uint8
    assert slant(upright[0]) == pytest.approx(0, abs=0.02)
    # Nothing moves up or down, and nothing gets lost.
    np.testing.assert_allclose(scaled(upright).sum(axis=2), scaled(image).sum(axis=2), atol=0.05)


def test_more_images_than_are_computed_at_once_become_the_same(monkeypatch):
    images = np.concatenate([bar(slant) for slant in (-0.5, -0.3, 0.1, 0.2, 0.4)])
    at_once = prepare(images, deskew=True)
    monkeypatch.setattr("stages.dataset.pieces.IMAGES", 2)
    np.testing.assert_array_equal(prepare(images, deskew=True), at_once)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_image_without_a_slant_stays_as_it_is(value):
    image = np.full((1, 8, 8), value, np.uint8)
    np.testing.assert_array_equal(prepare(image, deskew=True), image)
    line = np.zeros((1, 8, 8), np.uint8)
    line[0, 3] = value
    np.testing.assert_array_equal(prepare(line, deskew=True), line)
