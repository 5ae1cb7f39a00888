"""The Keras backend computes the same whatever a user has set for other projects."""

import json

import pytest

from tests.project import locked


@pytest.mark.long
def test_settings_of_keras_outside_the_project_change_no_byte(checked_out, tmp_path_factory):
    home = tmp_path_factory.mktemp("keras")
    others = {"floatx": "float64", "epsilon": 0.01, "image_data_format": "channels_first", "backend": "jax"}
    (home / "keras.json").write_text(json.dumps(others))
    checked_out.run(
        "python", "-m", "stages.train_mlp", KERAS_HOME=str(home), KERAS_MAX_STEPS_PER_EPOCH="1", KERAS_MAX_EPOCHS="1"
    )
    for path, md5 in locked(checked_out, "train-mlp").items():
        assert checked_out.run("md5sum", path).stdout.split()[0] == md5
