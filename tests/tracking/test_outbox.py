"""What lies in the outbox without being of ours: passed over, and left."""

import json

import pytest

from stages.tracking import outbox


@pytest.mark.parametrize(
    "start",
    [
        "[" * 100_000,
        "[]",
        "null",
        "\x00\xff",
        '{"event": "start", "time": 1}',
        '{"event": "start", "time": 1, "store": "STORE"}',
        '{"event": "start", "time": 1, "store": "STORE", "process": null}',
        '{"event": "start", "time": 1, "store": "STORE", "process": 7}',
        '{"event": "start", "time": 1, "store": "STORE", "process": "../../x"}',
    ],
)
def test_what_no_process_of_ours_wrote_is_passed_over(tmp_path, monkeypatch, start):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    ours = outbox.open_entry(outbox.START)
    (store,) = (event["store"] for event in outbox.read(ours))
    (ours.parent / "1-1.jsonl").write_text(start.replace('"STORE"', json.dumps(store)) + "\n")
    assert outbox.entries() == [ours]
    assert not outbox.holds("0" * 32)
