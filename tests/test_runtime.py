"""The Keras backend computes the same whatever a user has set for other projects."""

import json

import pytest

from tests.conftest import Clone
from tests.project import locked

OTHERS = {"floatx": "float64", "epsilon": 0.01, "image_data_format": "channels_first", "backend": "jax"}
SETTINGS = """
from stages.params.views import EvaluateParams, load_params
from stages.runtime import start_keras
start_keras(load_params(EvaluateParams).params.runtime)
import keras
print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
"""


def test_settings_of_keras_outside_the_project_do_not_count(reproduced: Clone, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps(OTHERS))
    done = reproduced.run("python", "-c", SETTINGS, KERAS_HOME=str(tmp_path))
    assert done.stdout.endswith("tensorflow float32 1e-07 channels_last\n")


@pytest.mark.long
def test_settings_of_keras_outside_the_project_change_no_byte(checked_out, tmp_path_factory):
    home = tmp_path_factory.mktemp("keras")
    (home / "keras.json").write_text(json.dumps(OTHERS))
    checked_out.run(
        "python", "-m", "stages.train_mlp", KERAS_HOME=str(home), KERAS_MAX_STEPS_PER_EPOCH="1", KERAS_MAX_EPOCHS="1"
    )
    for path, md5 in locked(checked_out, "train-mlp").items():
        assert checked_out.run("md5sum", path).stdout.split()[0] == md5
