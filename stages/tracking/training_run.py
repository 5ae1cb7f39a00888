"""The MLflow run of a training while it goes on: a record here, which a process beside it publishes.

It observes: a store that is slow, full or away costs a line on the console, and never the training.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.dataset.prepared import DatasetInfo, Split
from stages.learners.models import Model
from stages.process.console import warn
from stages.process.errors import UserError, without_credentials
from stages.tracking import record as records
from stages.tracking.beside import publishing
from stages.tracking.runs import begin_record, end_record
from stages.tracking.trial import state_tag, stop_reason, tell_sweep, trial_tags


class Run:
    """The run of one training; once its record cannot be written it only says so, and goes on without."""

    def __init__(self, model: Model, params: dict[str, Any], info: DatasetInfo, training: Split):
        self.model, self.params = model, params
        self.record: Path | None = None
        tell_sweep(began=os.getpid())
        try:
            self.record = begin_record(model, params, info, training)
        except OSError as error:
            _warn_of_loss(error)

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of `epoch` (from 1)."""
        self._write(records.append, epoch, values)
        tell_sweep(epoch=epoch, values=values)

    def set_tags(self, tags: dict[str, str]) -> None:
        self._write(records.update, tags=tags)

    def finish(self, seconds: float) -> None:
        """Log the finished files, and the `seconds` that the training took."""
        best_weights = self.params.get("weights") == "best"
        self._write(records.append, 0, {"training_seconds": seconds})
        self._write(end_record, self.model, best_weights)
        tell_sweep(best_weights=best_weights)

    def end(self, status: str, reason: str) -> None:
        """Close the run in MLflow's `status`, with the reason for it if it is not FINISHED."""
        shown = without_credentials(reason)[:1000]
        tags = state_tag(trial_tags(), status, pruned=bool(stop_reason()))
        self._write(records.update, status=status, reason=shown, end_time=records.now(), tags=tags)
        tell_sweep(ended=status, reason=shown)

    def _write(self, write: Callable, *arguments: Any, **changes: Any) -> None:
        if self.record is None:
            return
        try:
            write(self.record, *arguments, **changes)
        except OSError as error:
            self.record = None
            _warn_of_loss(error)


@contextmanager
def training_run(model: Model, params: dict[str, Any], info: DatasetInfo, training: Split) -> Iterator[Run]:
    """Open the run of a training with `params`, and close it in the state in which the training ends."""
    with publishing():
        run = Run(model, params, info, training)
        status, reason = records.FINISHED, ""
        try:
            yield run
        except KeyboardInterrupt:
            status, reason = records.KILLED, stop_reason() or "interrupted"
            if stop_reason():
                # Nobody comes back to it: unlike that of an interrupt its checkpoint goes.
                raise UserError(reason) from None
            raise
        except BaseException as error:
            status, reason = records.FAILED, f"{type(error).__name__}: {error}"
            raise
        finally:
            run.end(status, reason)


def _warn_of_loss(error: OSError) -> None:
    where, reason = error.filename or "the record for MLflow", error.strerror or "no space, or no right to"
    warn(f"{where}: cannot be written ({reason}): MLflow will not show how this training went")
