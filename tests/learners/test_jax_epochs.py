"""The epochs of a training under JAX: the same programs as on a GPU, and the same changes of images as without JAX."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("KERAS_BACKEND is not jax", allow_module_level=True)

import jax
import jax.numpy as jnp

from stages.dataset.prepared import Split
from stages.learners import jax_epochs
from stages.learners.augmentation import Augmentation
from stages.learners.jax_epochs import Random, moved
from stages.learners.networks import BUILDERS
from stages.learners.training import train
from stages.params.schema import Augmentation as AugmentationParams
from tests.learners.test_augmentation import angle, blob, centre
from tests.learners.test_networks import section
from tests.learners.test_training import NONE, RANDOM, TRAINING, VALIDATION, run

ALL = {"shift": 0.1, "rotation": 15.0, "zoom": 0.1, "shear": 0.1, "elastic": 0.03, "flip": True}
BLOCK = {"filters": 4, "kernel_size": 3, "strides": 1, "padding": "same", "pool_size": 2, "dropout": 0.1}


def coloured(count: int) -> Split:
    images = RANDOM.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return Split(images, RANDOM.integers(0, 3, count).astype(np.uint8))


def trained(name: str, training: Split, validation: Split, **changes) -> tuple[list[np.ndarray], dict]:
    keras.utils.set_random_seed(0)
    params = section(name, **{"epochs": 2, "min_steps": None, "batch_size": 16, "dropout": 0.3, **changes})
    network = BUILDERS[name](params, *training.images.shape[1:3], 3, *training.images.shape[3:])
    history, _ = train(name, network, params, training, validation, seed=1, on_epoch=lambda *_: None)
    return network.get_weights(), history


@pytest.mark.parametrize(
    ("name", "splits", "changes"),
    [
        ("mlp", (TRAINING, VALIDATION), {"hidden_units": [8], "augmentation": ALL}),
        (
            "cnn",
            (coloured(40), coloured(20)),
            {"blocks": [BLOCK], "hidden_units": [5], "batch_norm": True, "augmentation": ALL},
        ),
    ],
)
def test_one_program_for_an_epoch_as_on_a_gpu_trains_as_a_program_for_each_step(monkeypatch, name, splits, changes):
    weights, history = trained(name, *splits, **changes)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    in_one, its_history = trained(name, *splits, **changes)
    for a, b in zip(weights, in_one, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for metric, values in history.items():
        assert its_history[metric] == pytest.approx(values, rel=1e-4), metric


def test_more_images_than_the_device_may_hold_are_trained_on_in_parts(monkeypatch):
    changes = {"hidden_units": [8], "augmentation": NONE, "dropout": 0.0}
    weights, history = trained("mlp", TRAINING, VALIDATION, **changes)
    monkeypatch.setattr(jax_epochs, "PART_BYTES", 70 * TRAINING.images[0].nbytes)
    monkeypatch.setattr(jax_epochs, "images_at_once", lambda network: 7)
    in_parts, its_history = trained("mlp", TRAINING, VALIDATION, **changes)
    for a, b in zip(weights, in_parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for metric, values in history.items():
        assert its_history[metric] == pytest.approx(values, rel=1e-5), metric


def programs_compiled(caplog, **changes) -> int:
    caplog.clear()
    with jax.log_compiles():
        run(**changes)
    ours = tuple(f"Finished XLA compilation of jit({name})" for name in ("step", "program"))
    return sum(message.startswith(ours) for message in caplog.messages)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_second_network_of_a_model_is_made_by_the_programs_of_the_first(caplog, precision, request):
    keras.config.set_dtype_policy(precision)
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    changes = {"batch_norm": True, "batch_norm_statistics": "recomputed", "dropout": 0.1, "augmentation": ALL}
    alone = programs_compiled(caplog, networks=1, hidden_units=[9], **changes)
    assert alone > 0
    assert programs_compiled(caplog, networks=2, hidden_units=[10], **changes) == alone


@pytest.mark.parametrize("shape", [(28, 28), (20, 12, 3)])
def test_images_are_moved_as_without_jax(shape):
    smooth = np.repeat(blob(*shape[:2], count=50)[..., None], 3, axis=3) * np.float32([1, 0.5, 0.25])
    images = smooth if len(shape) == 3 else smooth[..., 0]
    augment = Augmentation(AugmentationParams(**ALL), *shape[:2])
    expected = augment(images, np.random.default_rng(0))
    sources = augment.sources(len(images), np.random.default_rng(0))
    # OpenCV rounds positions to 1/32 of a pixel.
    np.testing.assert_allclose(moved(jnp.asarray(images), jnp.asarray(sources)), expected, atol=0.02)
    assert np.abs(expected - images).max() > 0.3


def changed(images: np.ndarray, **limits: float) -> np.ndarray:
    augment = Augmentation(AugmentationParams(**{**NONE, **limits}), 28, 28)
    return np.asarray(moved(jnp.asarray(images), augment.sources(len(images), Random(jax.random.key(0)), jnp)))


def test_the_random_changes_reach_their_limits_and_no_further():
    shifts = (centre(changed(blob(count=400), shift=0.1)) - centre(blob(count=400))) / 28
    assert np.abs(shifts).max() < 0.105
    assert (shifts.max(axis=0) > 0.09).all()
    assert (shifts.min(axis=0) < -0.09).all()
    angles = angle(changed(blob(count=400), rotation=20.0))
    assert 19 < angles.max() < 20.5
    assert -20.5 < angles.min() < -19
    ramp = np.broadcast_to(np.arange(28, dtype=np.float32), (400, 28, 28))
    flipped = changed(ramp, flip=True)[:, 5, 0] == 27
    assert 160 < flipped.sum() < 240
    inner = (changed(ramp, elastic=0.05) - ramp)[:, 8:20, 8:20]
    assert inner.std() == pytest.approx(0.05 * 28, rel=0.1)
