"""A model of MLflow, ready to answer for raw images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from commands.trained import start_for
from stages.dataset.prepared import DatasetInfo
from stages.learners.models import ALL_MODELS, Model
from stages.process.errors import UserError, one_line, without_credentials
from stages.tracking.champion import ALIAS, logged_model
from stages.tracking.store import connect, tracking_uri


@dataclass(frozen=True)
class Logged:
    """A logged model in the store of MLflow: `uri` is what MLflow calls it, `info` tells of the images it takes."""

    model: Model
    uri: str
    info: DatasetInfo

    def load(self) -> "Answering":
        """Raises `UserError` where the model cannot be loaded."""
        start_for([self.model])
        try:
            return Answering(self.model, connect().pyfunc.load_model(self.uri))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.uri}: MLflow cannot load this model: {one_line(error)}") from None


@dataclass(frozen=True)
class Answering:
    model: Model
    pyfunc: Any

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities float32 (n, classes) for raw images uint8 (n, height, width), in colour (…, 3)."""
        return self.pyfunc.predict(images)


def find_logged(run_id: str | None, dataset: str | None) -> Logged:
    """Return the model of the run, or the champion of the `dataset`; raises `UserError` where there is none."""
    uri = without_credentials(tracking_uri())
    what = f"a champion of {dataset}" if run_id is None else f"run {one_line(run_id, 60)}"
    try:
        mlflow = connect()
        client = mlflow.MlflowClient()
        run = client.get_run(client.get_model_version_by_alias(dataset, ALIAS).run_id if run_id is None else run_id)
        logged = logged_model(run)
        if logged is None:
            raise UserError(f"run {run.info.run_id} has no model\nChoose another one: uv run mnist ui")
        name = f"models:/{logged.model_id}"
        about = mlflow.models.get_model_info(name)
        height, width, *channels = about.signature.inputs.inputs[0].shape[1:]
        (model,) = (model for model in ALL_MODELS if model.stage == run.data.tags.get("dvc.stage"))
        experiment = client.get_experiment(run.info.experiment_id).name
        images = {"height": height, "width": width, "channels": 3 if channels else 1, "deskew": False}
        learnt = {"requested": experiment, "dataset": experiment, "fallback": False, **images, **about.metadata}
        # Whoever writes to the store could give anything.
        info = TypeAdapter(DatasetInfo).validate_python(learnt)
        if len(info.class_names) != about.signature.outputs.inputs[0].shape[1]:
            raise ValueError("its classes have not as many names")
    except UserError:
        raise
    except (ValueError, AttributeError, IndexError, TypeError, KeyError):
        raise UserError(f"{what}: its model was not made by this project") from None
    except Exception as error:
        raise UserError(f"{uri}: MLflow does not give {what}: {one_line(error)}\nSee: uv run mnist ui") from None
    return Logged(model, name, info)
