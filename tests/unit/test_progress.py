"""What a long step says of its progress: whole lines, few of them, with rates and what is left."""

import pytest

from workflow_scripts import progress
from workflow_scripts.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test turns: the seconds are `clock.now`."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines(capsys) -> list[str]:
    """What was printed, with single spaces."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_line_comes_every_few_seconds_and_at_the_end(clock, capsys):
    shown = Progress(1000, "images")
    for _ in range(100):
        clock.now += 0.5
        shown.add(10)
    printed = lines(capsys)
    assert len(printed) == 5, "one in ten seconds"
    assert "200/1000 images [00:10<00:40, 20.00 images/s]" in printed[0]
    assert "1000/1000 images [00:50<00:00, 20.00 images/s]" in printed[-1]


def test_lines_end_as_lines_and_need_no_encoding(clock, capsys):
    shown = Progress(2, "images")
    clock.now += 10
    shown.add(1)
    shown.add(1)
    text = capsys.readouterr().out
    assert "\r" not in text and text.isascii() and text.count("\n") == 2
    assert "#" in text


def test_steps_are_shown_with_images_per_second_and_a_note(clock, capsys):
    shown = Progress(500, "steps", images=64)
    clock.now += 20
    shown.add(40, lambda: "loss 0.1234")
    (line,) = lines(capsys)
    assert "40/500 steps [00:20<03:50, 2.00 steps/s, 128.0 images/s, loss 0.1234]" in line


def test_a_note_is_not_asked_for_without_a_line(clock, capsys):
    def fail() -> str:
        raise AssertionError

    Progress(500, "steps").add(40, fail)
    assert not lines(capsys)


def test_what_was_done_before_an_interruption_is_no_part_of_the_rate(clock, capsys):
    shown = Progress(500, "steps", done=400, images=10)
    clock.now += 10
    shown.add(50)
    (line,) = lines(capsys)
    assert "450/500 steps [00:10<00:10, 5.00 steps/s, 50.0 images/s]" in line
