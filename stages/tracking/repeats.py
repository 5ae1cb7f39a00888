"""Mean and standard deviation over several seeds, as one run: MLflow's own pages cannot aggregate."""

from typing import Any

from stages.tracking.champion import MODEL_MD5
from stages.tracking.identity import log_metrics
from stages.tracking.notes import NOTE, with_note
from stages.tracking.store import connect, first_run, search_runs, store_lock

TAG = "repeats"


def training_seconds(model_md5: str) -> float | None:
    """Return how long the training of the model took, or None where MLflow does not know. Raises what MLflow raises."""
    run = first_run(f"tags.`{MODEL_MD5}` = '{model_md5}'")
    return run.data.metrics.get("training_seconds") if run else None


def record_repeats(
    name: str, seeds: list[int], summary: dict[str, dict[str, dict[str, Any]]], model_md5: str | None
) -> bool:
    """Make the run `name` with mean, standard deviation and each value of every metric, beside the trainings.

    `summary` is by model and metric. A value has its seed as the step. `model_md5` is that of one of the
    trained models. An earlier run of that name on these data is replaced; what a user wrote into its description stays.
    Return whether MLflow has the trainings, without which it is not made. Raises what MLflow raises.
    """
    client = connect().MlflowClient()
    # Trainings that came from DVC's cache belong to an earlier experiment of DVC, or to none.
    training = first_run(f"tags.`{MODEL_MD5}` = '{model_md5}'")
    if training is None:
        return False
    sentence = "Mean and standard deviation over runtime.seed {} to {}."
    with store_lock():
        note = sentence.format(seeds[0], seeds[-1])
        for run in list(search_runs(f"tags.`{TAG}` = '{name}'", experiment=training.info.experiment_id)):
            note = with_note(run.data.tags.get(NOTE, ""), note, instead_of=sentence.format(r"\d+", r"\d+"))
            client.delete_run(run.info.run_id)
        run = client.create_run(
            training.info.experiment_id, run_name=f"{name}: {len(seeds)} seeds", tags={TAG: name, NOTE: note}
        )
        points = []
        for model, metrics in summary.items():
            for metric, figure in metrics.items():
                key = f"{model}.{metric}"
                points += [(0, f"{key}.{part}", figure[part]) for part in ("mean", "std")]
                points += [(seed, key, value) for seed, value in zip(seeds, figure["values"], strict=True)]
        log_metrics(run.info.run_id, [(run.info.start_time, *point) for point in points])
        client.set_terminated(run.info.run_id)
    return True
