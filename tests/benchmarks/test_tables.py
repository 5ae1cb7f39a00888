"""The page of the benchmarks says no more than was measured."""

import pytest

from benchmarks import results, tables


def test_the_page_has_medians_and_their_rounds_but_no_difference_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "WORK", tmp_path)
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    tables.README.write_text(f"By hand.\n{tables.MARK}an older table")
    measured = results.Results()
    for number, seconds in enumerate((112.0, 250.0, 110.0), start=1):
        measured.measure("cold", number, lambda seconds=seconds: {"seconds": seconds})
    measured.measure("nothing to do", 1, lambda: {"seconds": 0.5})
    tables.write_readme(measured)
    head, page = tables.README.read_text().split(tables.MARK)
    assert head == "By hand.\n"
    assert page.startswith("\nMeasured")
    assert page.endswith(
        "have nothing to do where data and models come out as `dvc.lock` has them.\n\n"
        "| `dvc repro` | seconds | rounds |\n| --- | ---: | ---: |\n"
        "| in a fresh clone | 112.0 (110.0–250.0) | 3 |\n| with nothing to do | 0.50 | 1 |\n"
    )


def test_measurements_of_the_same_code_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "WORK", tmp_path)
    results.Results().measure("cold", 1, lambda: {"seconds": 1.0})
    assert results.Results().records == {"cold": [{"seconds": 1.0}]}
    assert results.Results(fresh=True).records == {}


def rounds(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"fit_seconds": seconds, "test_accuracy": accuracy} for seconds, accuracy in pairs]


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (rounds((5, 0.98), (6, 0.97), (4, 0.99)), "2.00 | yes | 3"),
        # One round of three is slower, and there are two rounds alone.
        (rounds((5, 0.98), (12, 0.97), (4, 0.99)), " | not shown to be faster | 3"),
        (rounds((5, 0.98), (6, 0.98)), " | not shown to be faster | 2"),
        (rounds((20, 0.96), (40, 0.97), (20, 0.96)), "0.50 | less accurate; slower | 3"),
    ],
)
def test_no_difference_is_said_that_the_rounds_do_not_show(tmp_path, monkeypatch, ours, said):
    monkeypatch.setattr(results, "WORK", tmp_path)
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    tables.README.write_text(tables.MARK)
    measured = results.Results()
    measured.records = {"peer sklearn_forest": rounds((10, 0.98), (10, 0.98), (10, 0.98)), "plain forest": ours}
    tables.write_readme(measured)
    (row,) = [line for line in tables.README.read_text().splitlines() if line.startswith("| plain forest")]
    assert row.endswith(f" | {said} |")
