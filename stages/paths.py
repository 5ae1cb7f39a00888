"""The paths of all files, relative to the repository root: stages run there."""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")

RAW = Path("data/raw")
PREPARED = Path("data/prepared")

MODELS = Path("models")

REPORTS = Path("reports")
EXPLORE = REPORTS / "explore"
METRICS = REPORTS / "metrics.json"
COMPARISON = REPORTS / "comparison.json"
INDEX = REPORTS / "index.html"
REPEATS = REPORTS / "repeats.json"
