import json
import random

import pytest

from sdi_engine.contract import events

EXAMPLES = [
    events.StateChanged(events.RUNNING),
    events.Progress("Optimising", 3, 10, 1.5, 4.7),
    events.PreviewSaved("preview.png", 3),
    events.Notice('it said: "ünïcode"\n'),
    events.Failed("No.", 4),
    events.Progress("Optimising", 0, 10, 0.0, 0.0, within=1.0),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_round_trip_on_one_line(event):
    line = events.to_line(event)
    assert line.count("\n") == 1
    assert events.from_line(line) == event


@pytest.mark.parametrize("line", ["", "{", "[]", "5", '{"type": "new"}', '{"type": "state", "colour": 1}', "\x00"])
def test_foreign_lines_are_ignored(line):
    assert events.from_line(line) is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("state", {"state": "asleep"}),
        ("state", {"state": 5}),
        ("state", {"state": "running", "time": "noon"}),
        ("state", {"state": "running", "time": True}),
        ("progress", {"phase": "x", "step": "1", "steps": 2}),
        ("progress", {"phase": "x", "step": True, "steps": 2}),
        ("progress", {"phase": "x", "step": -1, "steps": 2}),
        ("progress", {"phase": "x", "step": 1.5, "steps": 2}),
        ("progress", {"phase": "x", "step": 1, "steps": 10**400}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "rate": "fast"}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "rate": -1}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "eta": float("nan")}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "eta": float("inf")}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "within": 1.1}),
        ("progress", {"phase": "x", "step": 1, "steps": 2, "within": -0.1}),
        ("progress", {"phase": "x", "step": 1, "steps": 2**32 + 1}),
        ("progress", {"phase": ["x"], "step": 1, "steps": 2}),
        ("preview", {"file": "../preview.png", "step": 1}),
        ("preview", {"file": "/etc/passwd", "step": 1}),
        ("preview", {"file": "\\\\server\\share\\a.png", "step": 1}),
        ("preview", {"file": "C:a.png", "step": 1}),
        ("preview", {"file": "", "step": 1}),
        ("preview", {"file": {"a": 1}, "step": 1}),
        ("live", {"step": None}),
        ("notice", {"message": 5}),
        ("failed", {"message": "No.", "exit_code": "4"}),
        ("failed", {"message": "No."}),
    ],
)
def test_fields_of_wrong_type_or_range_are_ignored(kind, fields):
    assert events.from_line(json.dumps({"type": kind, **fields})) is None


@pytest.mark.parametrize(
    ("step", "steps", "within", "share"), [(3, 10, 0.0, 0.3), (3, 10, 0.5, 0.35), (10, 10, 0.5, 1.0), (0, 0, 0.5, 0.0)]
)
def test_how_much_of_a_phase_is_done(step, steps, within, share):
    assert events.Progress("x", step, steps, within=within).share == share


def test_further_fields_of_a_later_version_are_ignored():
    line = json.dumps({"type": "live", "step": 3, "time": 1.0, "colour": "red", "more": {"a": [1]}})
    assert events.from_line(line) == events.LiveMeshSaved(3, 1.0)


def test_sentences_are_cut():
    long = events.Failed("x" * 1_000_000, 3221225477)
    line = events.to_line(long)
    assert len(line) < events.MAX_LINE_BYTES, "a longer line is not read"
    assert events.from_line(line) == events.Failed("x" * events.MAX_SENTENCE, 3221225477, long.time)
    by_another = json.dumps({"type": "notice", "message": "x" * 10_000})
    assert events.from_line(by_another).message == "x" * events.MAX_SENTENCE


def test_of_an_endless_file_only_the_end_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "MAX_NEW_BYTES", 1000)
    monkeypatch.setattr(events, "MAX_LINE_BYTES", 300)
    file = tmp_path / "events.jsonl"
    first, last = events.to_line(EXAMPLES[0]), events.to_line(EXAMPLES[1])
    file.write_text(first + "x" * 5000 + "\n" + last, encoding="utf-8")
    seen, offset = events.read_new(file, 0)
    assert seen == [EXAMPLES[1]]
    assert offset == file.stat().st_size
    with file.open("a") as opened:
        opened.write('{"type": "' + "x" * 400)  # an unfinished line that is already too long
    seen, offset = events.read_new(file, offset)
    assert (seen, offset) == ([], file.stat().st_size)
    with file.open("a") as opened:
        opened.write('"}\n' + events.to_line(events.Notice("y" * 300)) + last)
    assert events.read_new(file, offset)[0] == [EXAMPLES[1]]


def test_the_last_reported_state(tmp_path):
    file = tmp_path / "events.jsonl"
    assert events.last_state(file) is None
    lines = [events.StateChanged(events.RUNNING), EXAMPLES[1], events.StateChanged(events.PAUSED), EXAMPLES[3]]
    file.write_text("".join(map(events.to_line, lines)), encoding="utf-8")
    assert events.last_state(file) == events.PAUSED


def test_damaged_bytes_only_lose_events(tmp_path):
    lot = random.Random(7)
    whole = "".join(map(events.to_line, EXAMPLES)).encode()
    file = tmp_path / "events.jsonl"
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(lot.randrange(1, 6)):
            damaged[lot.randrange(len(damaged))] = lot.choice((0, 10, 34, 91, 123, 125, 57, 255, lot.randrange(256)))
        file.write_bytes(damaged)
        seen, offset = events.read_new(file, 0)
        assert len(seen) <= len(EXAMPLES) + 5
        assert offset <= len(damaged)


def test_reading_on_leaves_a_half_written_line_for_the_next_time(tmp_path):
    file = tmp_path / "events.jsonl"
    assert events.read_new(file, 0) == ([], 0)
    first, second = events.to_line(EXAMPLES[0]), events.to_line(EXAMPLES[1])
    many = 1 + events.MAX_LINE_BYTES // len(first)
    file.write_text(first * many + second[:10], encoding="utf-8")
    seen, offset = events.read_new(file, 0)
    assert seen == [EXAMPLES[0]] * many
    file.write_text(first * many + second, encoding="utf-8")
    assert events.read_new(file, offset) == ([EXAMPLES[1]], len((first * many + second).encode()))


def test_garbage_between_events_is_skipped(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_bytes(
        events.to_line(EXAMPLES[0]).encode() + b"\xff\xfe garbage\n" + events.to_line(EXAMPLES[1]).encode()
    )
    assert events.read_new(file, 0)[0] == EXAMPLES[:2]
