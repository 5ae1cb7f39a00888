"""The runs of trials that DVC had trained before: they get the tags of the sweep, and are made where there is none.

python -m stages.tracking.sweeps MODEL COMMIT VALUES, in a copy of the commit of the experiment
"""

import json
import sys
from typing import Any

from stages.dataset.prepared import load_info, load_split
from stages.learners.models import ALL_MODELS
from stages.process.temporary import own_temporary_folder
from stages.tracking.identity import standing_run
from stages.tracking.publish import publish
from stages.tracking.runs import record_from_outputs
from stages.tracking.store import connect, store_lock
from stages.tracking.trial import NUMBER, SWEEP


def tag_run(model_md5: str, tags: dict[str, str]) -> bool:
    """Give the run of the model the `tags`, and return whether there is one. Raises what MLflow raises.

    A run stays the trial that it was in the same sweep; that of another sweep becomes one of this.
    """
    with store_lock():
        run = standing_run(model_md5)
        if run is None:
            return False
        if not (NUMBER in run.data.tags and run.data.tags.get(SWEEP) == tags.get(SWEEP)):
            client = connect().MlflowClient()
            for tag in tags.items():
                client.set_tag(run.info.run_id, *tag)
    return True


def main() -> None:
    name, commit, values = sys.argv[1:]
    model = next(model for model in ALL_MODELS if model.name == name)
    forest: dict[str, Any] = {} if model.history else json.loads(values)
    with own_temporary_folder():
        publish(record_from_outputs(model, load_info(), load_split("train"), commit, forest))


if __name__ == "__main__":
    main()
