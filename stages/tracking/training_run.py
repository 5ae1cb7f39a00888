"""The MLflow run of a training while it goes on: written down here, and sent by a process beside it.

It observes: a store that is slow, full or away costs a line on the console, and never the training.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.dataset.prepared import DatasetInfo, Split
from stages.learners.models import Model
from stages.process.errors import without_credentials
from stages.tracking import outbox
from stages.tracking.courier import courier
from stages.tracking.record import kept_epoch, model_event, start_event
from stages.tracking.store import tracking_uri


class Run:
    """The run of one training."""

    def __init__(self, model: Model, params: dict[str, Any], info: DatasetInfo, training: Split):
        self.model = model
        self.params = params
        self.entry: Path | None = None
        try:
            self.entry = outbox.open_entry(outbox.START, **start_event(model, params, info, training))
        except OSError as error:
            _lost(error)

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of `epoch` (from 1)."""
        self._add(outbox.VALUES, metrics=values, step=epoch)

    def log_metrics(self, values: dict[str, float]) -> None:
        self._add(outbox.VALUES, metrics=values, step=0)

    def set_tags(self, tags: dict[str, str]) -> None:
        self._add(outbox.VALUES, tags=tags)

    def finish(self) -> None:
        """Log the finished files."""
        if self.model.history:
            self._add(outbox.VALUES, **kept_epoch(self.model.history, best=self.params["weights"] == "best"))
        self._add(outbox.MODEL, **model_event(self.model))

    def end(self, status: str, reason: str) -> None:
        """Close the run in MLflow's `status`, with the reason for it if it is not FINISHED."""
        self._add(outbox.END, status=status, reason=without_credentials(reason)[:1000])

    def _add(self, event: str, **content: Any) -> None:
        if self.entry is None:
            return
        try:
            outbox.add(self.entry, event, **content)
        except OSError as error:
            self.entry = None
            _lost(error)


@contextmanager
def training_run(model: Model, params: dict[str, Any], info: DatasetInfo, training: Split) -> Iterator[Run]:
    """Open the run of a training with `params` on `training`, and close it in the state in which that ends."""
    # Refused before there is anything to lose.
    tracking_uri()
    with courier():
        run = Run(model, params, info, training)
        status, reason = "FINISHED", ""
        try:
            yield run
        except KeyboardInterrupt:
            status, reason = "KILLED", "interrupted"
            raise
        except BaseException as error:
            status, reason = "FAILED", f"{type(error).__name__}: {error}"
            raise
        finally:
            run.end(status, reason)


def _lost(error: OSError) -> None:
    print(
        f"warning: {error.filename or 'the notes for MLflow'}: cannot be written ({error.strerror}): "
        "MLflow will not show how this training went",
        file=sys.stderr,
        flush=True,
    )
