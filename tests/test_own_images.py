"""Pictures in colour through the whole pipeline, with the words of docs/your-own-images.md alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import MODELS, STAGES, metrics, ran, runs

# Two classes, which some libraries take for a problem of another kind, with names that others take for something else.
COLOURS = {"NA": (200, 30, 30), "$1 or $2": (30, 30, 220)}


@pytest.mark.long
def test_a_folder_of_coloured_pictures_of_many_sizes_is_a_data_set(clone):
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(60):
            size = random.integers(12, 40, 2)
            picture = random.integers(0, 80, (*size, 3)).astype(np.uint8)
            picture[3:-3, 3:-3] = colour
            path = clone.folder / f"data/sets/patches/train/{name}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    clone.set_params({"data.name": "patches", "data.size": [12, 16], "train.mlp.augmentation.flip": True})
    done = clone.run("mnist", "recipe", "fast", check=False)
    assert "error: data/sets/patches: neither Git nor DVC tracks it" in done.stdout
    assert ran(clone.run("dvc", "repro").stdout) == STAGES
    for model, name in MODELS.items():
        (run,) = runs(clone, "patches")[name]
        assert run.info.status == "FINISHED"
        if model != "random_forest":
            # The forest sees edges alone.
            assert metrics(clone)[model]["test_accuracy"] > 0.9
        predictions = json.loads(Path(run.info.artifact_uri, "predictions.json").read_text())
        assert {row[1] for row in predictions["data"]} | {row[2] for row in predictions["data"]} == set(COLOURS)
    page = (clone.folder / "reports/index.html").read_text()
    assert "<td>NA</td>" in page
    info = json.loads((clone.folder / "data/prepared/dataset.json").read_text())
    assert (info["height"], info["width"], info["channels"]) == (12, 16, 3)
    # Another data set's pictures run nothing.
    (clone.folder / "data/sets/others/train").mkdir(parents=True)
    assert "up to date" in clone.run("dvc", "status").stdout
    # A run answers with the classes and the size of pictures that it has learnt, whatever the data set has now.
    classes, picture = clone.folder / "data/sets/patches/train", clone.folder / "red.png"
    Image.new("RGB", (40, 12), COLOURS["NA"]).save(picture)
    asked = ("mnist", "predict", "--run", runs(clone, "patches")["cnn"][0].info.run_id, "--json", str(picture))
    said = clone.run(*asked).stdout
    (classes / "NA").rename(classes / "red")
    clone.set_params({"data.resize": "crop"})
    clone.run("dvc", "repro", "preprocess")
    assert '"NA"' in said
    assert clone.run(*asked).stdout == said
