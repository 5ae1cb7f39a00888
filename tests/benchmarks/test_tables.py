"""The tables of benchmarks/README.md, from rounds that are made up."""

from types import SimpleNamespace

import pytest

from benchmarks import tables


@pytest.mark.parametrize(("rounds", "shown"), [(1, False), (2, False), (3, True)])
def test_a_difference_needs_three_rounds(tmp_path, monkeypatch, rounds, shown):
    records = {
        "cold": [{"seconds": 100.0}] * rounds,
        "own work": [{"train_mlp": 110.0}] * rounds,
        "nothing to do": [{"seconds": 1.0}],
    }
    readme = tmp_path / "README.md"
    readme.write_text("By hand.\n" + tables.MARK)
    monkeypatch.setattr(tables, "README", readme)
    tables.write_readme(SimpleNamespace(records=records, commit="0" * 40, machine="a machine"))
    text = readme.read_text()
    assert text.startswith("By hand.\n")
    assert "| 110.0 |" in text
    assert ("-10.0" in text) == shown
    assert ("start-up add" in text) == shown
