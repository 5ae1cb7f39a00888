"""Which bytes stay the same: a small pipeline under many conditions, and the table of docs/reproducibility.md.

uv run python -m benchmarks.reproducibility

It takes about 10 minutes, and some 10 more for each emulated processor (Debian: apt install qemu-user). Rows of other
machines stay in the table as long as the first row, the reference, has the bytes that it had.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks.results import parser
from stages.arithmetic import WITHOUT_AVX512
from stages.fingerprints import file_md5, folder_md5
from stages.params.yaml_file import edit_file
from stages.process.provenance import cores, processor

PAGE = Path("docs/reproducibility.md")
ROWS = Path("benchmarks/reproducibility.json")
START, END = "<!-- From here on written by `python -m benchmarks.reproducibility`. -->", "<!-- To here. -->"
STAGES = ("download", "preprocess", "explore", "train_mlp", "train_cnn", "train_random_forest", "evaluate")
# All that computes, in seconds: deskewing, UMAP, batch normalization, augmentation.
SMALL = {
    "data.name": "digits",
    "preprocess.deskew": True,
    "explore.sample_size": 400,
    "train.mlp.epochs": 3,
    "train.mlp.min_steps": None,
    "train.cnn.epochs": 3,
    "train.cnn.min_steps": None,
}
OUTPUTS = {
    "data": ["data/prepared"],
    "forest": ["models/random_forest.skops"],
    "MLP": ["models/mlp.keras", "models/mlp_history.csv"],
    "CNN": ["models/cnn.keras", "models/cnn_history.csv"],
    "explore": ["reports/explore"],
    "reports": ["reports/mlp", "reports/cnn", "reports/random_forest", "reports/metrics.json", "reports/index.html"],
}
NOTHING = "nothing"
PROCESSORS = ("Haswell", "Skylake-Client", "EPYC", "max")
# The emulator crashes in NumPy's sorting with AVX2: in these NumPy is held to SSE. (In the others that would be another
# sine, and so another augmentation.)
CRASHES = ("train_random_forest", "evaluate")
WITHOUT_AVX2 = """
import os, runpy, sys
held = os.environ["NPY_DISABLE_CPU_FEATURES"]
os.environ["NPY_DISABLE_CPU_FEATURES"] = f"X86_V3 {held}"
import numpy
os.environ["NPY_DISABLE_CPU_FEATURES"] = held
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def conditions() -> dict[str, tuple[dict, list[str], dict[str, str]]]:
    """Return each change's params, the command that runs Python, and its environment."""
    python = os.path.realpath(sys.executable)
    found = {
        NOTHING: ({}, [sys.executable], {}),
        "once more": ({}, [sys.executable], {}),
        "one core": ({}, ["taskset", "--cpu-list", "0", sys.executable], {}),
        "`OMP_NUM_THREADS=1`": ({}, [sys.executable], {"OMP_NUM_THREADS": "1"}),
        "`runtime.threads: 1`": ({"runtime.threads": 1}, [sys.executable], {}),
        "`runtime.threads: 4`": ({"runtime.threads": 4}, [sys.executable], {}),
        "`runtime.threads: 8`": ({"runtime.threads": 8}, [sys.executable], {}),
        "`runtime.arithmetic: native`": ({"runtime.arithmetic": "native"}, [sys.executable], {}),
    }
    if emulator := shutil.which("qemu-x86_64"):
        found |= {
            f"emulated {name}": (
                {},
                [emulator, "-cpu", name, python],
                {"PYTHONPATH": f".{os.pathsep}{sysconfig.get_path('purelib')}", **WITHOUT_AVX512},
            )
            for name in PROCESSORS
        }
    return found


def measure(params: dict, command: list[str], environment: dict[str, str]) -> dict[str, str]:
    """Run the stages in a copy, and return the md5 of each of `OUTPUTS`."""
    with tempfile.TemporaryDirectory() as folder:
        _copy(Path(folder), {**SMALL, **params})
        settings = {**os.environ, **environment, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        for stage in STAGES:
            held = ("-c", WITHOUT_AVX2) if "PYTHONPATH" in environment and stage in CRASHES else ()
            subprocess.run(
                (*command, *held, "-m", f"stages.{stage}"),
                cwd=folder,
                env=settings,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        return {name: _md5(Path(folder), paths) for name, paths in OUTPUTS.items()}


def _copy(folder: Path, params: dict) -> None:
    for name in subprocess.run(("git", "ls-files"), check=True, capture_output=True, text=True).stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, folder / name)
    edit_file(folder / "params.yaml", params)


def _md5(folder: Path, paths: list[str]) -> str:
    return " ".join((folder_md5 if (folder / path).is_dir() else file_md5)(folder / path)[:8] for path in paths)


def main() -> None:
    parser(__doc__).parse_args()
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    machine = f"{processor()}, {cores()} cores"
    for change, condition in conditions().items():
        start = time.perf_counter()
        try:
            found = measure(*condition)
        except subprocess.CalledProcessError as error:
            if change == NOTHING:
                raise
            # The emulator crashes now and then; the other rows are worth having.
            print(f"{change}: {error}", flush=True)
            continue
        if change == NOTHING and rows and rows[0]["md5"] != found:
            print(f"the reference of {rows[0]['date']} had other bytes: {rows[0]['md5']}, now {found}")
            if rows[0]["machine"] == machine:
                rows = []
        # A row that is measured again stays where it is: the first is the reference.
        by_name = {(row["machine"], row["change"]): row for row in rows}
        by_name[machine, change] = {
            "change": change, "machine": machine, "date": date.today().isoformat(), "md5": found
        }  # fmt: skip
        rows = [*by_name.values()]
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
        _write(rows)
        print(f"{change}: {time.perf_counter() - start:.0f} s", flush=True)


def _write(rows: list[dict]) -> None:
    reference = rows[0]["md5"]
    lines = [f"| change | {' | '.join(OUTPUTS)} | on | date |", f"|---|{'---|' * len(OUTPUTS)}---|---|"]
    for row in rows:
        words = ("same" if row["md5"][name] == reference[name] else "**differs**" for name in OUTPUTS)
        lines.append(f"| {row['change']} | {' | '.join(words)} | {row['machine']} | {row['date']} |")
    before, _, rest = PAGE.read_text().partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


if __name__ == "__main__":
    main()
