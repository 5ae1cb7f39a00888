"""Publishing the metrics and figures of `evaluate` to the runs of the models."""

from stages.dataset.prepared import DatasetInfo, Split
from stages.learners.models import ALL_MODELS
from stages.process.console import warn
from stages.tracking.beside import publishing
from stages.tracking.record import FOLDER
from stages.tracking.runs import record_from_files


def publish_evaluations(info: DatasetInfo, training: Split, seconds: dict[str, dict[str, float]]) -> bool:
    """Have reports/ published, now or later, and return whether MLflow has it already.

    `seconds` are measured times by model and name, which no file has. A model whose run MLflow lacks gets one.
    """
    records = []
    with publishing():
        try:
            for model in ALL_MODELS:
                records.append(record_from_files(model, info, training, seconds[model.name]))
        except OSError as error:
            warn(
                f"{FOLDER}: cannot be written ({error.strerror or 'no space, or no right to'}): "
                "MLflow does not have these metrics; uv run mnist publish publishes them"
            )
            return False
    return not any(record.exists() for record in records)
