"""Ends that a stage does not choose, on real processes and signals."""

import os
import subprocess
import sys

import psutil
import pytest

from stages.process.lifetime import SHELLS
from tests.conftest import PROJECT

# The interrupt arrives inside a weakref's callback, from where Python lets no exception out.
DROPPED = """
import os, signal, time, weakref
from stages.process.ending import exit_on_user_error

class Thing: ...

with exit_on_user_error():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.1)))
    del thing
    time.sleep(20)
    print("went on")
"""


# Twice while it is held back: the second one is somebody who cannot wait.
DEFERRED = """
import os, signal, time
from stages.process.lifetime import interrupts_deferred
from stages.process.ending import exit_on_user_error

with exit_on_user_error():
    with interrupts_deferred(), interrupts_deferred():
        for _ in range({times}):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        print("whole")
    print("went on")
"""


# Many lines, of which somebody reads the first, and what this encoding does not have.
TALKING = """
import sys
from stages.process.ending import exit_on_user_error

with exit_on_user_error():
    for stream in (sys.stdout, sys.stderr):
        for _ in range(100_000):
            print("…", file=stream)
    open(sys.argv[1], "w").write("done")
"""


# As DVC starts a stage.
STAGE = """
import os, time
from stages.process.lifetime import end_with_dvc

end_with_dvc()
print(os.getpid(), flush=True)
time.sleep(60)
"""
DVC = "import subprocess, sys; subprocess.run((sys.executable, '-c', sys.argv[1]))"
# The shell has a command after it, and so waits.
DVC_WITH_A_SHELL = """
import subprocess, sys
subprocess.run(("sh", "-c", '"$0" -c "$1"; :', sys.executable, sys.argv[1]))
"""


def run(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        (sys.executable, "-c", script), cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_interrupt_that_python_drops_still_ends_the_stage():
    done = run(DROPPED)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "interrupted")


def test_a_deferred_interrupt_comes_at_the_end_of_the_block():
    done = run(DEFERRED.format(times=1))
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "whole\n", "interrupted")


def test_a_second_interrupt_is_not_deferred():
    done = run(DEFERRED.format(times=2))
    assert (done.returncode, done.stdout) == (130, "")


@pytest.mark.parametrize(("dvc", "in_a_shell"), [(DVC, False), (DVC_WITH_A_SHELL, True)])
def test_a_stage_ends_with_its_dvc(dvc, in_a_shell):
    environment = {**os.environ, "DVC_STAGE": "train-mlp"}
    with subprocess.Popen(
        (sys.executable, "-c", dvc, STAGE), cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        stage = psutil.Process(int(process.stdout.readline()))
        assert (stage.parent().name() in SHELLS) == in_a_shell
        process.kill()
        stage.wait(timeout=10)


def test_a_stage_whose_dvc_was_gone_before_it_began_ends_at_once():
    # It begins once the process that started it is gone.
    orphan = "import os, sys, time\nwhile os.getppid() == int(sys.argv[1]): time.sleep(0.01)\n" + STAGE
    starter = "import os, subprocess, sys; subprocess.Popen((sys.executable, '-c', sys.argv[1], str(os.getpid())))"
    done = subprocess.run(
        (sys.executable, "-c", starter, orphan),
        cwd=PROJECT,
        env={**os.environ, "DVC_STAGE": "train-mlp"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize(
    ("before", "ends"), [("SIG_IGN", (0, "whole\nwent on\n", "")), ("SIG_DFL", (130, "whole\n", "interrupted"))]
)
def test_a_closed_terminal_is_a_reason_to_end_but_under_nohup(before, ends):
    # Set, as these tests may run under nohup themselves.
    setting = f"import signal\nsignal.signal(signal.SIGHUP, signal.{before})\n"
    done = run(setting + DEFERRED.format(times=1).replace("SIGTERM", "SIGHUP"))
    assert (done.returncode, done.stdout, done.stderr.strip()) == ends


@pytest.mark.parametrize("output", ["2>&1 | head -1", ">/dev/full 2>&1"], ids=["a reader that is gone", "a full disk"])
def test_a_stage_goes_on_where_its_output_cannot_be_written(tmp_path, output):
    command = f'"$0" -c "$1" "$2" {output}'
    done = subprocess.run(
        ("bash", "-o", "pipefail", "-c", command, sys.executable, TALKING, tmp_path / "done"),
        cwd=PROJECT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.long
@pytest.mark.faults
def test_a_stage_whose_output_nobody_reads_is_kept_by_dvc(checked_out):
    checked_out.set_params({"train.random_forest.n_estimators": 3})
    command = "dvc repro --single-item train-random-forest"
    # The third line is the stage's first. DVC itself fails at its own next one.
    read = checked_out.run("bash", "-c", f"{command} | head -3").stdout
    assert "random-forest: training" in read
    assert "is cached - skipping run" in checked_out.run(*command.split()).stdout
