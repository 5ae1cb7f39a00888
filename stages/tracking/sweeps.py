"""The runs of trials that DVC had trained before: they get the tags of the sweep, and are made where there is none.

python -m stages.tracking.sweeps MODEL COMMIT VALUES, in a copy of the commit of the experiment
"""

import json
import sys
from typing import Any

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import ALL_MODELS
from stages.process.temporary import own_temporary_folder
from stages.tracking.identity import standing_run, tag_trial
from stages.tracking.publish import publish
from stages.tracking.runs import record_from_outputs
from stages.tracking.store import store_lock


def tag_run(model_md5: str, tags: dict[str, str]) -> bool:
    """Give the run of the model the `tags`, and return whether there is one. Raises what MLflow raises."""
    with store_lock():
        run = standing_run(model_md5)
        if run:
            tag_trial(run, tags)
    return run is not None


def main() -> None:
    name, commit, values = sys.argv[1:]
    model = next(model for model in ALL_MODELS if model.name == name)
    forest: dict[str, Any] = {} if model.history else json.loads(values)
    with own_temporary_folder():
        publish(record_from_outputs(model, load_info(), load_split("train"), commit, forest))


if __name__ == "__main__":
    main()
