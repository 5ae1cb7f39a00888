"""Several networks that answer together, on small random data."""

import numpy as np
import pytest

from stages.dataset.scaling import scaled
from stages.learners.keras_classifier import KerasClassifier
from stages.learners.keras_file import load_keras, save_keras
from stages.learners.networks import networks_inside
from tests.learners import test_checkpoint
from tests.learners.test_checkpoint import KilledError
from tests.learners.test_training import VALIDATION, run


@pytest.mark.parametrize("shift", [0, 1])
def test_the_model_is_the_mean_over_networks_of_other_seeds(shift, tmp_path):
    one, two = run(networks=1, test_time_shift=shift)[0], run(networks=2, test_time_shift=shift)[0]
    count = len(one.get_weights())
    for mine, alone in zip(two.get_weights()[:count], one.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, alone)
    images = scaled(VALIDATION.images)
    alone = one.predict(images, verbose=0)
    one.set_weights(two.get_weights()[count:])
    other = one.predict(images, verbose=0)
    assert np.abs(alone - other).max() > 0.01
    save_keras(two, tmp_path / "model.keras")
    loaded = load_keras(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), (alone + other) / 2, atol=1e-6)


def test_the_epochs_of_all_networks_are_counted_through():
    _, alone, _, _ = run(networks=1)
    _, history, kept, told = run(networks=3)
    assert kept == 12
    assert [epoch for epoch, _ in told] == [*range(1, 13)]
    assert history["val_loss"][:4] == alone["val_loss"]
    assert history["val_loss"] == [values["val_loss"] for _, values in told]


def test_another_seed_gives_all_of_them_others():
    found = [network for seed in (0, 1) for network in networks_inside(run(seed, networks=3)[0])[0]]
    assert len({network.get_weights()[0].tobytes() for network in found}) == 6


def test_a_killed_training_goes_on_in_the_network_that_it_was_at(tmp_path):
    whole = test_checkpoint.run(networks=2)
    path = tmp_path / "folder" / "checkpoint.npz"
    with pytest.raises(KilledError):
        # Six epochs are the first network's.
        test_checkpoint.run(path, kill_after=8, networks=2)
    resumed = test_checkpoint.run(path, seed=9, networks=2)
    for a, b in zip(whole[0], resumed[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed[1:] == whole[1:]


def test_its_size_and_its_filters():
    one, three = (KerasClassifier(run(networks=networks, test_time_shift=1)[0]) for networks in (1, 3))
    assert three.size() == {name: 3 * value for name, value in one.size().items()}
    np.testing.assert_array_equal(three.filters(4), one.filters(4))
