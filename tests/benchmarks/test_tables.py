"""The page of the benchmarks says no more than was measured."""

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
        "Medians; rounds: 3, with nothing to do 1.\n\n| `dvc repro` | seconds |\n| --- | ---: |\n"
        "| of everything, nothing there before | 112.0 |\n| with nothing to do | 0.50 |\n"
    )


def test_measurements_of_the_same_code_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "WORK", tmp_path)
    results.Results().measure("cold", 1, lambda: {"seconds": 1.0})
    assert results.Results().records == {"cold": [{"seconds": 1.0}]}
    assert results.Results(fresh=True).records == {}
