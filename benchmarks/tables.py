"""The tables of benchmarks/README.md."""

import datetime
import platform
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fit import BESIDE_R, OTHER, SAME
from benchmarks.results import Record, Results
from benchmarks.scaling import IMAGES, PICTURES, STAGES
from stages.fingerprints import versions

README = Path(__file__).parent / "README.md"
# People write the part above it.
MARK = "<!-- From here on written by `python -m benchmarks`. -->\n"
BESIDE = ("seconds", "test accuracy", "times faster", "as accurate in less time", "rounds")
# Fewer rounds show no difference.
ENOUGH = 3
PACKAGES = ("dvc", "keras", "tensorflow", "mlflow", "scikit-learn", "numpy", "opencv-python-headless")


def write_readme(results: Results) -> None:
    """Replace the part below the mark in benchmarks/README.md."""
    head, _, _ = README.read_text(encoding="utf-8").partition(MARK)
    parts = (_where, _fit, _forest, _pipeline, _scaling, _pictures)
    blocks = [block for part in parts for block in part(results)]
    README.write_text(head + MARK + "\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")


def _where(results: Results) -> Iterator[str]:
    used = ", ".join(f"{name} {value}" for name, value in versions(*PACKAGES).items())
    yield (
        f"Measured {datetime.date.today()}, commit `{results.commit[:7]}`, {results.machine}, "
        f"{platform.system()}; {used}."
    )


def _fit(results: Results) -> Iterator[str]:
    heading = ("pipeline", "seconds", "test accuracy", "plain script", *BESIDE)
    same, other = (
        [row for peer, ours in pairs for name, *_ in ours for row in _beside(results, name, peer)]
        for pairs in (SAME, OTHER)
    )
    if same or other:
        yield (
            "## Beside the plain scripts\n\nSeconds are those of the fit. The rounds are interleaved. In each the "
            "pipeline has another seed; a script has its own, where it sets one. Values are medians, with the lowest "
            "and the highest in brackets. How many times faster is said where at least three rounds were made and all "
            "agree on it. Less accurate is a training whose best round is below the script's worst."
        )
    if same:
        yield table(heading, same)
    if other:
        yield "Another training of the same task, beside the same scripts and those of other libraries' documentation:"
        yield table(heading, other)


def _forest(results: Results) -> Iterator[str]:
    if rows := [row for name, _ in BESIDE_R for row in _beside(results, name, "random_forest", "R")]:
        yield "R's `randomForest`, once, on the same 3,000 images."
        yield table(("pipeline", "seconds", "test accuracy", "R", *BESIDE), rows)


def _beside(results: Results, name: str, peer: str, ending: str = "py") -> list[tuple[str, ...]]:
    ours = results.records.get(name, [])
    theirs = results.records.get(f"peer {peer}.R" if ending == "R" else f"peer {peer}", [])
    if not ours or not theirs:
        return []
    pairs = zip(theirs, ours, strict=False) if len(theirs) > 1 else ((theirs[0], each) for each in ours)
    ratios = [each["fit_seconds"] / own["fit_seconds"] for each, own in pairs]
    columns = [
        text
        for records in (ours, theirs)
        for text in (spread(records, "fit_seconds", "{:.2f}"), spread(records, "test_accuracy", "{:.2%}"))
    ]
    columns.insert(2, f"`peers/{peer}.{ending}`")
    return [(name, *columns, *_verdict(ours, theirs, ratios), str(len(ratios)))]


def _verdict(ours: list[Record], theirs: list[Record], ratios: list[float]) -> tuple[str, str]:
    """Return how many times faster ours is, and whether it is as accurate in less time, as far as rounds show it."""
    faster, shown = statistics.median(ratios), len(ratios) >= ENOUGH and not min(ratios) <= 1 <= max(ratios)
    said = []
    if max(record["test_accuracy"] for record in ours) < min(record["test_accuracy"] for record in theirs):
        said.append("less accurate")
    if not shown:
        said.append("not shown to be faster")
    elif faster < 1:
        said.append("slower")
    return f"{faster:.2f}" if shown else "", "; ".join(said) or "yes"


def spread(records: list[Record], name: str, form: str) -> str:
    values = [record[name] for record in records]
    median = form.format(statistics.median(values))
    return f"{median} ({form.format(min(values))}–{form.format(max(values))})" if len(values) > 1 else median


def _pipeline(results: Results) -> Iterator[str]:
    cold, idle = (results.records.get(name, []) for name in ("cold", "nothing to do"))
    if not (cold and idle):
        return
    yield (
        "## The pipeline\n\nSeconds of the whole command: medians, with the lowest and the highest in brackets. In a "
        "fresh clone `explore` and `evaluate` have nothing to do where data and models come out as `dvc.lock` has them."
    )
    yield table(
        ("`dvc repro`", "seconds", "rounds"),
        [
            ("in a fresh clone", spread(cold, "seconds", "{:.1f}"), str(len(cold))),
            ("with nothing to do", spread(idle, "seconds", "{:.2f}"), str(len(idle))),
        ],
    )


def _scaling(results: Results) -> Iterator[str]:
    measured = {images: found[0] for images in IMAGES if (found := results.records.get(f"{images} images"))}
    if not measured:
        return
    yield (
        "## Any number of images\n\nDeformed copies of MNIST's images, a tenth of them for validation, and a sixth as "
        "many test images. The networks train for one pass, the forest on 50,000 images. Memory is what a process has "
        "for itself: pages of files, which the system takes back, do not count."
    )
    yield table(
        (
            "stage",
            *(f"{images:,}: seconds" for images in measured),
            *(f"{images:,}: µs per image" for images in measured),
            *(f"{images:,}: peak MiB" for images in measured),
        ),
        [(stage, *_of_stage(stage, measured)) for stage in STAGES],
    )


def _pictures(results: Results) -> Iterator[str]:
    measured = {images: found[0] for images in PICTURES if (found := results.records.get(f"{images} pictures"))}
    if not measured:
        return
    yield "The same images as a folder of PNG files. DVC hashes each file, and runs `download` and `preprocess`."
    yield table(
        ("", *(f"{images:,}: {unit}" for unit in ("seconds", "peak MiB") for images in measured)),
        [
            (name, *(f"{record[name][key]:,.0f}" for key in ("seconds", "peak_mib") for record in measured.values()))
            for name in next(iter(measured.values()))
        ],
    )


def _of_stage(stage: str, measured: dict[int, Record]) -> Iterator[str]:
    records = {images: record[stage] for images, record in measured.items()}
    yield from (f"{record['seconds']:.0f}" for record in records.values())
    for images, record in records.items():
        # The forest's training is always of the same number.
        per_image = stage != "train_random_forest"
        yield f"{1e6 * (record['training_seconds'] or record['seconds']) / images:.1f}" if per_image else ""
    yield from (f"{record['peak_mib']:,}" for record in records.values())


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---", *["---:"] * (len(heading) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
