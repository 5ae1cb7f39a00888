"""The training loop: its order, its stopping and its determinism, on small random data."""

import keras
import numpy as np
import pytest

from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.learners.ensemble import train_networks
from stages.learners.keras_file import load_keras, save_keras
from stages.learners.networks import build_mlp
from stages.learners.optimizers import optimizer
from stages.learners.tensorflow_epochs import chunks
from stages.learners.training import HISTORY
from stages.process.errors import UserError
from tests.learners.test_networks import section

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 200).astype(np.uint8)
IMAGES = ((RANDOM.random((200, 4, 4)) * 0.5 + LABELS[:, None, None] * 0.2) * 255).astype(np.uint8)
NONE = {"shift": 0.0, "rotation": 0.0, "zoom": 0.0, "shear": 0.0, "elastic": 0.0, "flip": False}
TRAINING, VALIDATION = Split(IMAGES[:150], LABELS[:150]), Split(IMAGES[150:], LABELS[150:])


def run(seed: int = 0, **changes):
    keras.utils.set_random_seed(seed)
    changes = {"hidden_units": [8], "epochs": 4, "min_steps": None, "batch_size": 16, "test_time_shift": 0, **changes}
    params = section("mlp", **changes)
    network = build_mlp(params, 4, 4, 3)
    epochs = []
    model, history, kept = train_networks(
        "mlp", network, params, TRAINING, VALIDATION, seed=seed, on_epoch=lambda *values: epochs.append(values)
    )
    return model, history, kept, epochs


def test_the_training_is_that_of_keras_fit():
    changes = {"hidden_units": [8], "batch_size": 16, "augmentation": NONE, "dropout": 0.0}
    params = section(
        "mlp",
        epochs=1,
        min_steps=None,
        **changes,
        optimizer={"name": "adam", "learning_rate": 0.01, "schedule": "constant"},
    )
    keras.utils.set_random_seed(0)
    ours = build_mlp(params, 4, 4, 3)
    theirs = keras.models.clone_model(ours)
    theirs.set_weights(ours.get_weights())
    _, history, _ = train_networks("mlp", ours, params, TRAINING, VALIDATION, seed=0, on_epoch=lambda *_: None)

    ((images, labels),) = chunks(TRAINING, params, seed=0, epoch=1)
    # The same optimizer: tests/learners/test_optimizers.py compares it with Keras' own.
    adam = optimizer(params.optimizer, steps=10)
    theirs.compile(optimizer=adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    held = (scaled(VALIDATION.images), VALIDATION.labels)
    logs = theirs.fit(images, labels, batch_size=16, shuffle=False, verbose=0, validation_data=held).history
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert history["train_loss"] == pytest.approx(logs["loss"], rel=1e-5)
    assert history["train_accuracy"] == pytest.approx(logs["accuracy"])
    assert history["val_loss"] == pytest.approx(logs["val_loss"], rel=1e-5)


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, second, other = run(seed=1), run(seed=1), run(seed=2)
    for a, b in zip(first[0].get_weights(), second[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1] == second[1]
    assert first[1] != other[1]


def test_the_history_is_what_on_epoch_got():
    _, history, kept, epochs = run()
    assert kept == [4]
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    assert set(history) == set(HISTORY)
    for name in HISTORY:
        assert history[name] == pytest.approx([values[name] for _, values in epochs])


def test_few_images_are_passed_over_more_often_until_the_training_has_its_steps(capsys):
    # 150 images are 10 steps.
    _, history, kept, epochs = run(epochs=4, min_steps=51)
    assert len(history["val_loss"]) == len(epochs) == 6
    assert kept == [6]
    assert "mlp: 6 epochs, more than train.mlp.epochs: 4, to reach train.mlp.min_steps: 51" in capsys.readouterr().out
    _, history, *_ = run(epochs=4, min_steps=40)
    assert len(history["val_loss"]) == 4
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("epochs", "said"), [(19, True), (20, False)])
def test_a_training_that_is_too_short_to_learn_is_said(capsys, epochs, said):
    run(epochs=epochs)
    warning = "warning: mlp: 190 training steps (10 for each of 19 epochs) are too few to learn; raise train.mlp.min_st"
    assert (warning in capsys.readouterr().err) == said


def test_early_stopping_stops_and_best_weights_are_kept():
    model, history, kept, _ = run(
        epochs=60, early_stopping_patience=2, weights="best",
        optimizer={"name": "sgd", "learning_rate": 1.0, "schedule": "constant"},
    )  # fmt: skip
    losses = history["val_loss"]
    assert len(losses) < 60
    assert kept == [np.argmin(losses) + 1] == [len(losses) - 2]
    loss, _ = model.evaluate(scaled(VALIDATION.images), VALIDATION.labels, verbose=0)
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_with_shifts_the_model_is_the_mean_over_shifted_images(tmp_path):
    model, history, *_ = run(test_time_shift=1)
    plain, plain_history, *_ = run(test_time_shift=0)
    # The training itself is the same, and so is its report.
    assert history == plain_history
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    margin = np.pad(scaled(VALIDATION.images), ((0, 0), (1, 1), (1, 1)))
    shifted = [margin[:, top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    expected = np.mean([plain.predict(images, verbose=0) for images in shifted], axis=0)
    save_keras(model, tmp_path / "model.keras")
    predicted = load_keras(tmp_path / "model.keras").predict(scaled(VALIDATION.images), verbose=0)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "batches"), [(40, 3), (200, 1)])
def test_recomputed_statistics_are_those_of_the_images_as_they_are(tmp_path, batch_size, batches):
    changes = {"hidden_units": [8, 5], "batch_norm": True, "dropout": 0.5, "batch_size": batch_size}
    model, history, *_ = run(**changes, batch_norm_statistics="recomputed")
    moving, moving_history, *_ = run(**changes, batch_norm_statistics="moving")
    assert history == moving_history
    for a, b in zip(model.trainable_variables, moving.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)

    order = np.random.default_rng(0).permutation(150)
    used = scaled(TRAINING.images)[order][: batches * batch_size].reshape(batches, -1, 16)
    first, second = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    kernels = [np.asarray(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    inputs = used @ kernels[0]
    np.testing.assert_allclose(first.moving_mean, inputs.mean(axis=(0, 1)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first.moving_variance, inputs.var(axis=1).mean(axis=0), rtol=1e-3, atol=1e-5)
    normalized = (inputs - inputs.mean(axis=1, keepdims=True)) / np.sqrt(inputs.var(axis=1, keepdims=True) + 1e-3)
    inputs = np.maximum(normalized * np.asarray(first.gamma) + np.asarray(first.beta), 0) @ kernels[1]
    np.testing.assert_allclose(second.moving_mean, inputs.mean(axis=(0, 1)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(second.moving_variance, inputs.var(axis=1).mean(axis=0), rtol=1e-3, atol=1e-5)

    # The file has the layer as it was.
    save_keras(model, tmp_path / "model.keras")
    assert load_keras(tmp_path / "model.keras").layers[2].momentum == moving.layers[2].momentum


def test_recomputed_statistics_are_those_of_batches_with_all_classes_also_where_images_are_sorted_by_class():
    order = np.argsort(TRAINING.labels, kind="stable")
    params = section(
        "mlp", hidden_units=[8], epochs=4, min_steps=None, batch_size=16, batch_norm_statistics="recomputed"
    )
    keras.utils.set_random_seed(0)
    network = build_mlp(params, 4, 4, 3)
    by_class = Split(TRAINING.images[order], TRAINING.labels[order])
    train_networks("mlp", network, params, by_class, VALIDATION, seed=0, on_epoch=lambda *_: None)
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    inputs = scaled(TRAINING.images).reshape(150, -1) @ np.asarray(first.kernel)
    # Within a class they vary by a fraction of it.
    np.testing.assert_allclose(normalization.moving_variance, inputs.var(axis=0), rtol=0.25)


@pytest.mark.parametrize(
    ("precision", "epoch"),
    # Keras first lowers the scale of a loss in float16.
    [("float32", "1"), ("mixed_bfloat16", "1"), ("mixed_float16", "[12]")],
)
def test_a_loss_that_is_not_finite_ends_the_training(precision, epoch, request):
    keras.config.set_dtype_policy(precision)
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    with pytest.raises(UserError, match=rf"train\.mlp: train_loss is (nan|inf) in epoch {epoch};(?s:.*)learning_rate"):
        run(batch_norm=False, l2=100.0, optimizer={"name": "sgd", "learning_rate": 10.0, "schedule": "constant"})


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weights_that_are_not_finite_end_a_training_whose_loss_is(value):
    params = section("mlp", hidden_units=[8], batch_norm=True, epochs=2, batch_size=16)
    network = build_mlp(params, 4, 4, 3)
    (normalization,) = (layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    # A value divided by infinity is 0, and training divides by the variance of the batch.
    normalization.moving_variance.assign(np.full(8, value, np.float32))
    quantity = "a weight is inf" if np.isinf(value) else "val_loss is nan"
    with pytest.raises(UserError, match=f"train.mlp: {quantity} in epoch 1"):
        train_networks("mlp", network, params, TRAINING, VALIDATION, seed=0, on_epoch=lambda *_: None)
