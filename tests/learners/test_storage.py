"""Model files: stable bytes, and the same predictions after loading; tests/faults/ has files that somebody made up."""

import pickle
import zipfile

import keras
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.features import pixels
from stages.dataset.scaling import scaled
from stages.learners.forest_file import load_forest, save_forest
from stages.learners.keras_file import load_keras, save_keras
from stages.learners.loading import load_classifier
from stages.learners.networks import averaged, build_cnn
from stages.process.errors import UserError
from tests.learners.test_networks import section

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
LABELS = np.arange(60) % 3


def cnn() -> keras.Model:
    # Layers are numbered through the process otherwise; a stage builds one model.
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = build_cnn(section("cnn", dropout=0.2, hidden_units=[4]), 8, 8, 3)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(scaled(IMAGES), LABELS, epochs=1, verbose=0)
    return model


def forest(trees: int = 5, **params) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0, n_jobs=2, **params).fit(pixels(IMAGES), LABELS)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_keras_model_has_stable_bytes_and_no_optimizer(tmp_path, shift):
    save_keras(averaged([cnn()], shift), tmp_path / "a.keras")
    save_keras(averaged([cnn()], shift), tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert b"optimizer" not in archive.read("model.weights.h5")
        assert b"optimizer" not in archive.read("config.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.keras", "b.keras"]


def test_a_forest_has_stable_bytes_however_many_threads_made_it(tmp_path):
    save_forest(forest(), "pixels", 0.333, tmp_path / "a.skops")
    # Other objects in memory give other addresses, and used memory fills the gaps between the fields.
    ballast = [forest() for _ in range(3)]
    np.full(1_000_000, 255, np.uint8)
    save_forest(ballast[-1].set_params(n_jobs=1), "pixels", 0.333, tmp_path / "b.skops")
    assert (tmp_path / "a.skops").read_bytes() == (tmp_path / "b.skops").read_bytes()


def test_a_forest_of_many_classes_that_are_told_apart_easily_can_be_loaded(tmp_path):
    labels = np.arange(4 * 256) % 256
    images = 255 * np.unpackbits(labels.astype(np.uint8)[:, None], axis=1).reshape(-1, 2, 4)
    grown = RandomForestClassifier(3, bootstrap=False, random_state=0).fit(pixels(images), labels)
    save_forest(grown, "pixels", None, tmp_path / "random_forest.skops")
    np.testing.assert_array_equal(
        load_classifier(tmp_path / "random_forest.skops").predict(images).argmax(axis=1), labels
    )


@pytest.mark.parametrize("bootstrap", [True, False])
def test_trees_that_were_pickled_give_the_same_bytes(tmp_path, bootstrap):
    grown = forest(bootstrap=bootstrap, max_features=0.3)
    pickled = pickle.loads(pickle.dumps(grown))
    appended = forest(2, bootstrap=bootstrap, max_features=0.3).set_params(n_estimators=5)
    appended.estimators_ += pickled.estimators_[2:]
    before = pickle.dumps(appended)
    for name, each in (("grown", grown), ("pickled", pickled), ("appended", appended)):
        save_forest(each, "pixels", None, tmp_path / f"{name}.skops")
    assert (tmp_path / "pickled.skops").read_bytes() == (tmp_path / "grown.skops").read_bytes()
    assert (tmp_path / "appended.skops").read_bytes() == (tmp_path / "grown.skops").read_bytes()
    assert pickle.dumps(appended) == before


@pytest.mark.long
def test_a_loaded_model_predicts_as_before(tmp_path):
    model, trees = cnn(), forest()
    save_keras(model, tmp_path / "cnn.keras")
    save_forest(trees, "pixels", None, tmp_path / "random_forest.skops")
    before = {
        "cnn.keras": model.predict(scaled(IMAGES), verbose=0),
        "random_forest.skops": trees.predict_proba(pixels(IMAGES)),
    }
    for name, y_proba in before.items():
        predicted = load_classifier(tmp_path / name).predict(IMAGES)
        assert predicted.dtype == np.float32
        np.testing.assert_allclose(predicted, y_proba, atol=1e-6)


@pytest.mark.parametrize("temperature", [None, 0.01, 0.333, 1.0, 10.0])
def test_a_forest_keeps_its_temperature_to_the_last_bit(tmp_path, temperature):
    path = tmp_path / "random_forest.skops"
    # max_features has the same value in one of the cases, and must not become one object with it.
    save_forest(forest(max_features=1.0), "pixels", temperature, path)
    loaded, features, found = load_forest(path)
    assert (features, found) == ("pixels", temperature)
    assert load_classifier(path).temperature == temperature
    save_forest(loaded, features, found, tmp_path / "again.skops")
    assert (tmp_path / "again.skops").read_bytes() == path.read_bytes()


def test_a_forest_of_an_earlier_commit_has_no_temperature(tmp_path):
    older = forest()
    older.image_features = "pixels"
    skops.io.dump(older, tmp_path / "random_forest.skops")
    assert load_forest(tmp_path / "random_forest.skops")[1:] == ("pixels", None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", None])
def test_a_damaged_or_missing_file_is_named(tmp_path, content):
    for name, load in (("a.keras", load_keras), ("a.skops", load_forest)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            load(tmp_path / name)
