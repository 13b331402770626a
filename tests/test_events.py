import pytest

from sdi_engine import events

EXAMPLES = [
    events.StateChanged(events.RUNNING),
    events.Progress("Optimising", 3, 10, 1.5, 4.7),
    events.PreviewSaved("preview.png", 3),
    events.Notice('it said: "ünïcode"\n'),
    events.Failed("No.", 4),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_round_trip_on_one_line(event):
    line = events.to_line(event)
    assert line.count("\n") == 1
    assert events.from_line(line) == event


@pytest.mark.parametrize("line", ["", "{", "[]", "5", '{"type": "new"}', '{"type": "state", "colour": 1}', "\x00"])
def test_foreign_lines_are_none(line):
    assert events.from_line(line) is None


def test_reading_on_leaves_a_half_written_line_for_the_next_time(tmp_path):
    file = tmp_path / "events.jsonl"
    assert events.read_new(file, 0) == ([], 0)
    first, second = events.to_line(EXAMPLES[0]), events.to_line(EXAMPLES[1])
    file.write_text(first + second[:10], encoding="utf-8")
    seen, offset = events.read_new(file, 0)
    assert seen == [EXAMPLES[0]]
    file.write_text(first + second, encoding="utf-8")
    assert events.read_new(file, offset) == ([EXAMPLES[1]], len((first + second).encode()))


def test_garbage_between_events_is_skipped(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_bytes(
        events.to_line(EXAMPLES[0]).encode() + b"\xff\xfe garbage\n" + events.to_line(EXAMPLES[1]).encode()
    )
    assert events.read_new(file, 0)[0] == EXAMPLES[:2]
