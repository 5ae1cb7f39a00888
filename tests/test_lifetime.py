"""Ends that a stage does not choose, on real processes and signals."""

import subprocess
import sys

from tests.conftest import PROJECT

# The interrupt arrives inside a weakref's callback, from where Python lets no exception out.
DROPPED = """
import os, signal, time, weakref
from stages.start import exit_on_user_error

class Thing: ...

with exit_on_user_error():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.1)))
    del thing
    time.sleep(20)
    print("went on")
"""


def test_an_interrupt_that_python_drops_still_ends_the_stage():
    done = subprocess.run(
        (sys.executable, "-c", DROPPED), cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.strip() == "interrupted"
