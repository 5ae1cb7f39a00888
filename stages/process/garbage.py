"""Python's search for garbage, which costs a start and an end of a process a second: packages are all it finds."""

import atexit
import gc

# Objects that are made between two searches. Python's own number, 700, has TensorFlow's hundreds of thousands looked
# through again and again; more than this saves nothing (measured), and keeps garbage longer.
OBJECTS = 10_000


def collect_rarely() -> None:
    """Search less often from now on, and not at the end: what is left then is the system's to take back."""
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
