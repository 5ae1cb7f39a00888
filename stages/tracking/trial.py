"""What a training that is a trial of a sweep and its sweep tell each other: files in a folder that one names to it."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

# The environment variable with the folder. What is in it:
FOLDER = "MNIST_TRIAL"
TAGS, EVENTS, STOP = "tags.json", "events.jsonl", "stop"
# Tags of a run: the sweep; the number of the trial in it, and how that ended, in Optuna's words; or the label of the
# settings that it repeats with another seed.
SWEEP, NUMBER, STATE, CONFIRMS = RUN_TAGS = ("sweep", "sweep.trial", "sweep.state", "sweep.confirms")


def trial_tags() -> dict[str, str]:
    """Return the tags that the run is to have; none where the training is no trial."""
    with suppress(OSError, ValueError, KeyError):
        return json.loads((Path(os.environ[FOLDER]) / TAGS).read_text())
    return {}


def tell_sweep(**event: Any) -> None:
    """Tell the sweep that asked for this training; what cannot be written is left: the sweep reads the outputs."""
    with suppress(OSError, KeyError), open(Path(os.environ[FOLDER]) / EVENTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def stop_reason() -> str | None:
    """Return why the sweep has ended this training; None where it was not the sweep."""
    with suppress(OSError, KeyError):
        return (Path(os.environ[FOLDER]) / STOP).read_text(encoding="utf-8")
    return None


def state_tag(tags: dict[str, str], status: str, pruned: bool = False) -> dict[str, str]:
    """Return the tag of a trial, with its `tags`, that has ended in MLflow's `status`; none where it is run again."""
    state = {"FINISHED": "COMPLETE", "FAILED": "FAIL"}.get(status, "PRUNED" if pruned else None)
    return {STATE: state} if state and NUMBER in tags else {}
