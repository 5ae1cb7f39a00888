"""What a benchmark starts computes as it does where nobody measures."""

import sys

from benchmarks.results import PROJECT, run

THREADS = "from threadpoolctl import threadpool_info; print({pool['num_threads'] for pool in threadpool_info()})"


def test_ours_computes_with_the_switches_of_the_stages_and_a_peer_without(monkeypatch):
    # As this process has them, which has imported a stage.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert run(sys.executable, "-c", f"import benchmarks.ours; {THREADS}", folder=PROJECT) == "{1}\n"
    shown = "import os; print([name for name in os.environ if name.startswith(('OPENBLAS_', 'NPY_', 'OPENCV_'))])"
    assert run(sys.executable, "-c", shown, folder=PROJECT) == "[]\n"
