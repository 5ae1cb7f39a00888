"""The MLflow run of a training while it goes on.

It observes: a store that cannot be reached costs the record in MLflow, said in one line, and never the training.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stages.dataset.prepared import About
from stages.errors import without_credentials
from stages.lifetime import interrupts_deferred
from stages.models import Model
from stages.tracking.abandoned import close_abandoned_runs, left_here
from stages.tracking.record import close_record, open_record, record_files
from stages.tracking.store import connect, first_line, tracking_uri, warn


class Run:
    """The run of one training; every call after a failed one does nothing."""

    def __init__(self, model: Model, params: dict[str, Any], about: About):
        self.model = model
        self.params = params
        self.about = about
        self.run_id: str | None = None
        self.lost = ""

    def start(self) -> None:
        def start(_: Any) -> None:
            close_abandoned_runs()
            self.run_id = open_record(self.model, self.params, self.about)

        self._send(start)

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of `epoch` (from 1)."""
        self._send(lambda mlflow: mlflow.log_metrics(values, step=epoch))

    def log_metrics(self, values: dict[str, float]) -> None:
        self._send(lambda mlflow: mlflow.log_metrics(values))

    def set_tags(self, tags: dict[str, str]) -> None:
        self._send(lambda mlflow: mlflow.set_tags(tags))

    def finish(self) -> None:
        """Log the finished files, close the run as FINISHED, and tie it to the model's md5."""

        def finish(_: Any) -> None:
            record_files(self.model, self.params, self.about)
            # Last: the run that stands for a model has all of it.
            close_record(self.model, self.run_id)

        self._send(finish)

    def end(self, status: str, reason: str) -> None:
        """Close the run, unless `finish` has, in MLflow's `status`, with the reason for it if it is not FINISHED."""
        lost, self.lost = self.lost, ""
        if lost and not reason:
            status, reason = "FAILED", lost

        def end(mlflow: Any) -> None:
            if mlflow.active_run() is None:
                return
            if reason:
                mlflow.set_tag("failure", without_credentials(reason)[:1000])
            mlflow.end_run(status)

        # What was lost before has been said.
        self._send(end, say=not lost)

    def _send(self, action: Callable[[Any], None], say: bool = True) -> None:
        if self.lost:
            return
        with interrupts_deferred():
            try:
                action(connect())
            except Exception as error:
                self.lost = f"MLflow: {first_line(error)}"
                if say:
                    warn(error)


@contextmanager
def training_run(model: Model, params: dict[str, Any], about: About) -> Iterator[Run]:
    """Open the run of a training with `params`, and close it in the state in which the training ends."""
    tracking_uri()
    run = Run(model, params, about)
    status, reason = "FINISHED", ""
    with left_here():
        try:
            run.start()
            yield run
        except KeyboardInterrupt:
            status, reason = "KILLED", "interrupted"
            raise
        except BaseException as error:
            status, reason = "FAILED", f"{type(error).__name__}: {error}"
            raise
        finally:
            run.end(status, reason)
