import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.values import LogFormat, LogLevel
from proxy.observe.log import LibraryLog, Log, printable, take_library_logs

CANARY = "canary-5f3a"
WALL = 1_795_262_405.75


class Written:
    """A log whose lines go to a pipe."""

    def __init__(self, **options: Any) -> None:
        self._reader, self._writer = os.pipe()
        self.log = Log(lambda: WALL, descriptor=self._writer, **options)

    def text(self) -> str:
        assert self.log.close(10)
        os.close(self._writer)
        with os.fdopen(self._reader, "rb") as file:
            return file.read().decode("utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


def test_a_line_has_its_time_level_and_event_before_its_fields() -> None:
    written = Written()
    written.log.info("started", port=8080)
    assert written.text() == (
        '{"time":"2026-11-21T12:00:05.750Z","level":"info","event":"started","port":8080}\n'
    )


@pytest.mark.parametrize(
    ("level", "events"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warning", "error"]),
        (LogLevel.INFO, ["info", "warning", "error"]),
        (LogLevel.WARNING, ["warning", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
def test_what_is_less_important_than_the_level_is_not_written(level: LogLevel, events: list[str]) -> None:
    written = Written(level=level)
    written.log.debug("debug")
    written.log.info("info")
    written.log.warning("warning")
    written.log.error("error")
    assert [line["event"] for line in written.lines()] == events


@given(wall=st.floats(0, 4_000_000_000))
def test_the_time_is_rfc_3339_in_utc_with_milliseconds(wall: float) -> None:
    log = Log.__new__(Log)
    log._wall, log._stamp = lambda: wall, (-1, "")
    text = log.time()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert 0 <= wall - datetime.fromisoformat(text).astimezone(UTC).timestamp() < 0.0011


def test_drops_are_said_in_a_line() -> None:
    written = Written(lines_max=1)
    with written.log._writer._lock:  # nothing counts as written until all three are in
        written.log.info("one")
        written.log.info("two")
        written.log.info("three")
    assert written.log.dropped == 2
    lines = written.lines()
    assert [line["event"] for line in lines] == ["one", "log_dropped"]
    assert (lines[1]["level"], lines[1]["lines"]) == ("warning", 2)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("caf\xe9", "caf\xe9"), ("\udcff", "?"), (2**80, 2**80), (object(), "object"), ("a\nb", "a\nb")],
)
def test_no_value_can_break_a_line(value: object, shown: object) -> None:
    written = Written()
    written.log.info("odd", value=value)
    (line,) = written.lines()
    assert line["value"] == shown


@given(value=st.one_of(st.text(), st.characters(), st.integers(), st.floats(), st.binary(), st.none()))
def test_rendering_never_raises_and_gives_one_line(value: object) -> None:
    for form in LogFormat:
        written = Written(form=form)
        written.log.info("odd", value=value)
        assert written.text().count("\n") == 1


def test_the_console_form_is_for_people_and_steers_no_terminal() -> None:
    written = Written(form=LogFormat.CONSOLE)
    written.log.warning("hold", tenant="\x1b[2Jevil", api="two\nlines", reason="", seconds=0.0)
    text = written.text()
    assert "reason" not in text, "what is empty is left out"
    assert "seconds" in text
    assert "2026-11-21T12:00:05.750Z" in text
    assert "hold" in text
    assert "\x1b" not in text
    assert text.count("\n") == 1


@given(text=st.text(st.characters()))
def test_printable_text_is_printable_and_as_long(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@pytest.fixture
def library() -> Iterator[Callable[[Log], logging.Logger]]:
    logger = logging.getLogger("tests.library")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)

    def attach(log: Log) -> logging.Logger:
        logger.handlers = [LibraryLog(log)]
        return logger

    yield attach
    logger.handlers = []
    logger.propagate = True


def fails_with_a_secret() -> None:
    secret = CANARY
    raise ValueError(secret)


def test_what_a_library_logs_never_quotes_a_request(library: Callable[[Log], logging.Logger]) -> None:
    written = Written()
    logger = library(written.log)
    try:
        fails_with_a_secret()
    except ValueError:
        logger.exception("bad header %s of " + CANARY, CANARY)  # noqa: G003 - as careless libraries do
    text = written.text()
    assert CANARY not in text
    line = json.loads(text)
    assert line["event"] == "library"
    assert line["level"] == "error"
    assert line["logger"] == "tests.library"
    assert line["exception"] == "ValueError"
    assert re.fullmatch(r"test_log\.py:fails_with_a_secret:\d+", line["raised"])
    assert line["place"].startswith("test_log.test_what_a_library_logs_never_quotes_a_request:")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warning"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "error"),
        (5, "debug"),
    ],
)
def test_levels_of_libraries_are_kept(
    level: int, shown: str, library: Callable[[Log], logging.Logger]
) -> None:
    written = Written(level=LogLevel.DEBUG)
    logger = library(written.log)
    logger.setLevel(1)
    logger.log(level, "message")
    assert [line["level"] for line in written.lines()] == [shown]


def test_an_exception_that_was_never_raised_has_no_place(
    library: Callable[[Log], logging.Logger],
) -> None:
    written = Written()
    library(written.log).error("x", exc_info=ValueError(CANARY))
    (line,) = written.lines()
    assert (line["exception"], line["raised"]) == ("ValueError", "")


def test_all_of_standard_logging_and_warnings_goes_into_the_log() -> None:
    root = logging.getLogger()
    handlers, level, shows = root.handlers[:], root.level, warnings.showwarning
    written = Written(level=LogLevel.WARNING)
    try:
        take_library_logs(written.log, LogLevel.WARNING)
        logging.getLogger("asyncio").warning("slow %s", CANARY)
        logging.getLogger("asyncio").info("not important enough")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            warnings.showwarning(CANARY, UserWarning, "file", 1)
    finally:
        logging.captureWarnings(capture=False)
        warnings.showwarning = shows
        root.handlers[:] = handlers
        root.setLevel(level)
    assert [line["logger"] for line in written.lines()] == ["asyncio", "py.warnings"]
