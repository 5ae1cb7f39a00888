"""The same bytes on any x86-64 processor: the switches are set in time, and nothing outside params.yaml decides."""

import pytest

from stages.arithmetic import IS_X86
from tests.conftest import Audit
from tests.project import STAGES, locked

MLP = ("python", "-m", "stages.train_mlp")
# Of the small pipeline, as made on an Intel Xeon (family 6 model 207), and those of explore on an AMD EPYC (family 25
# model 1): every machine that runs the tests is one more witness.
RECORDED = {
    "preprocess": {"data/prepared": "0c27de74730aff4bd508e242b5a4f9ec.dir"},
    "explore": {"reports/explore": "2a2c9fb54464aaae657fb4b7b6e2f1aa.dir"},
    "train-mlp": {
        "models/mlp.keras": "826313224f8dd5b18229ffec22707c25",
        "models/mlp_history.csv": "e740e6dc0a66b2b9093b5c5c13dfe678",
    },
    "train-cnn": {
        "models/cnn.keras": "b5003d6dea32e5382311bc2ef89b0016",
        "models/cnn_history.csv": "6f3fa640c3c972b202ab125e27c819f4",
    },
    "train-random-forest": {"models/random_forest.skops": "095bad754bd36210f8128d131564ea22"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_switches_are_set_before_a_stage_imports_what_reads_them(audit: Audit, stage):
    assert audit.late[stage] == []


@pytest.mark.skipif(not IS_X86, reason="the recorded bytes are of x86-64")
@pytest.mark.parametrize("stage", RECORDED)
def test_this_machine_makes_the_recorded_bytes(reproduced, stage):
    assert locked(reproduced, stage) == RECORDED[stage]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KERAS_BACKEND", "jax", "params.yaml says runtime.backend: tensorflow"),
        ("TF_NUM_INTRAOP_THREADS", "3", "params.yaml says runtime.threads: 2"),
        ("TF_ENABLE_ONEDNN_OPTS", "0", "params.yaml says runtime.arithmetic: portable, which sets 1\nUnset it: unset"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", "params.yaml says runtime.arithmetic: portable"),
        pytest.param(
            "OPENBLAS_CORETYPE",
            "Zen",
            "this project sets Haswell",
            marks=pytest.mark.skipif(not IS_X86, reason="elsewhere it is not set"),
        ),
    ],
)
def test_an_environment_that_contradicts_is_an_error_that_names_both(checked_out, name, value, said):
    done = checked_out.run(*MLP, check=False, **{name: value})
    assert done.returncode == 1
    assert f"error: {name}={value} in the environment: " in done.stdout
    assert said in done.stdout
    assert f"Unset it: unset {name}" in done.stdout
    assert "or change runtime.arithmetic" not in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.long
def test_native_arithmetic_and_another_number_of_threads_are_other_trainings(checked_out):
    recorded = locked(checked_out, "train-mlp")
    for edit in ({"runtime.threads": 4}, {"runtime.threads": 2, "runtime.arithmetic": "native"}):
        checked_out.set_params(edit)
        assert "train-mlp" in checked_out.run("dvc", "status").stdout
        assert "train-random-forest" not in checked_out.run("dvc", "status").stdout
        output = checked_out.run("dvc", "repro", "train-mlp").stdout
        assert "Running stage 'train-mlp'" in output
    assert "arithmetic: native, 2 threads" in output
    assert locked(checked_out, "train-mlp").keys() == recorded.keys()


@pytest.mark.long
def test_the_number_of_cores_changes_no_byte(checked_out):
    for stage in ("train-mlp", "train-cnn", "explore"):
        recorded = locked(checked_out, stage)
        checked_out.run("taskset", "--cpu-list", "0", "dvc", "repro", "--force", "--single-item", stage)
        assert locked(checked_out, stage) == recorded
