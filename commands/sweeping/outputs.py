"""What DVC keeps of an experiment of one stage: the values of its model, and its run in MLflow where there is none."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from commands.git import experiment_commit, git
from stages.learners.history import NETWORK
from stages.learners.models import ALL_MODELS
from stages.paths import LOCK, PARAMS, PREPARED
from stages.process.console import warn
from stages.process.errors import UserError, one_line
from stages.process.provenance import cached
from stages.tracking.trial import FOLDER, TAGS


class Outputs:
    """The outputs of `stage` in the experiment `name` of the clone; raises `UserError` where there are none."""

    def __init__(self, clone: Path, name: str, stage: str):
        self.clone, self.name = clone, name
        self.model = next(model for model in ALL_MODELS if model.stage == stage)
        self.commit = experiment_commit(clone, name)
        if self.commit is None:
            raise UserError(f"experiment {name}: DVC has not kept it")
        lock = YAML(typ="safe").load(git("show", f"{self.commit}:./{LOCK}", clone=clone))["stages"]
        self.locked = lock[stage]
        self.md5 = {out["path"]: out["md5"] for each in lock.values() for out in each.get("outs", [])}

    def file(self, path: Path) -> Path:
        """Return where DVC's cache has the output."""
        return self._cached(self.md5[path.as_posix()])

    def epochs(self) -> list[dict[str, float]]:
        """Return the values of each epoch, from the first on; a forest, which has none, is measured."""
        if self.model.history is None:
            return [self._measured()]
        return self._table().to_dict("records")

    def kept(self, epochs: list[dict[str, float]]) -> dict[str, float]:
        """Return the values of the epoch whose weights the model has."""
        if self.model.history is None:
            return epochs[-1]
        table = self._table()
        best = self.locked["params"][str(PARAMS)][f"train.{self.model.name}"]["weights"] == "best"
        return table.iloc[table["val_loss"].argmin() if best else -1].to_dict()

    def publish(self, tags: dict[str, str], epochs: list[dict[str, float]]) -> None:
        """Have the run of the model carry the `tags`; where MLflow has none it is made from the files.

        Whatever MLflow does, the trial has its values, and what MLflow has not taken waits on disk.
        """
        from stages.tracking.sweeps import tag_run

        with suppress(Exception):
            if tag_run(self.md5[self.model.file.as_posix()], tags):
                return
        try:
            self._restore_run(tags, epochs[-1])
        except Exception as error:
            warn(f"MLflow does not have the run of {self.name} yet, which came from DVC's cache: {one_line(error)}")

    def _table(self) -> pd.DataFrame:
        table = pd.read_csv(self.file(self.model.history), float_precision="round_trip").set_index("epoch")
        return table.drop(columns=NETWORK, errors="ignore")

    def _measured(self) -> dict[str, float]:
        """Return the validation metrics of the forest, as its stage has computed them."""
        from stages.learners.validation import validation_metrics

        images, labels = self._split("validation")
        return validation_metrics(labels, self._classifier().probabilities(images))

    def tested(self) -> dict[str, float]:
        """Return the metrics of the model on the test images; a network needs Keras, started."""
        from stages.evaluation.scores import scores

        images, labels = self._split("test")
        return scores("test", labels, self._classifier().predict(images))

    def _classifier(self) -> Any:
        from stages.learners.loading import load_classifier

        # In DVC's cache it has another name; its own says how to load it.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.model.file.name
            path.symlink_to(self.file(self.model.file))
            return load_classifier(path)

    def _split(self, name: str) -> list[np.ndarray]:
        """Return the images and labels of the split."""
        arrays = self.prepared()
        return [np.load(arrays[f"{name}_{part}.npy"], mmap_mode="r") for part in ("images", "labels")]

    def prepared(self) -> dict[str, Path]:
        """Return where DVC's cache has the prepared arrays, by the names of their files."""
        listing = json.loads(self._cached(self.md5[PREPARED.as_posix()]).read_text())
        return {entry["relpath"]: self._cached(entry["md5"]) for entry in listing}

    def _cached(self, md5: str) -> Path:
        path = cached(md5, self.clone)
        if not path.is_file():
            raise UserError(
                f"{path}: DVC's cache has lost an output of {self.name}\n"
                "Remove the sweep's journal in .dvc/tmp/sweeps, and it is made again; all else comes from the cache."
            )
        return path

    def _restore_run(self, tags: dict[str, str], values: dict[str, float]) -> None:
        """Make the run from the files of the experiment, in a copy of its commit such as DVC runs one in."""
        folder = self.clone / ".dvc/tmp/exps/standalone"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="run-") as copy:
            archive = subprocess.run(
                ("git", "archive", self.commit), cwd=self.clone, check=True, capture_output=True
            ).stdout
            subprocess.run(("tar", "-x", "-C", copy), input=archive, check=True)
            for path in filter(None, (self.model.file, self.model.history)):
                _link(Path(copy) / path, self.file(path))
            for name, path in self.prepared().items():
                _link(Path(copy) / PREPARED / name, path)
            (Path(copy) / TAGS).write_text(json.dumps(tags), encoding="utf-8")
            environment = {**os.environ, FOLDER: copy, "DVC_EXP_NAME": self.name, "PYTHONDONTWRITEBYTECODE": "1"}
            command = (sys.executable, "-m", "stages.tracking.sweeps", self.model.name, self.commit, json.dumps(values))
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
