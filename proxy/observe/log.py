"""The log: one line per event, JSON for machines or structlog's console for people.

An event is a static name and values are fields, so that lines can be counted and filtered without parsing
prose. Every line goes through one chain of structlog's processors and has `time` (RFC 3339, UTC,
milliseconds), `level` and `event`, then its fields. Writing never waits and never raises
(`proxy.observe.line_writer`).

What libraries log through the standard library is reduced to where it came from and the type of the
exception: their messages and tracebacks can quote what a caller sent.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from config.values import LogFormat, LogLevel
from proxy.observe.line_writer import BYTES_MAX, LINES_MAX, LineWriter

STDOUT = 1
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


class Log:
    """Writes events to a file descriptor: `log.info("hold", action="begun", seconds=300.0)`.

    `wall` gives the seconds since 1970. `debug`, `info`, `warning` and `error` take the event's name and its
    fields; below `level` they do nothing.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        *,
        level: LogLevel = LogLevel.INFO,
        form: LogFormat = LogFormat.JSON,
        descriptor: int = STDOUT,
        lines_max: int = LINES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._wall = wall
        self._stamp = (-1, "")
        colours = os.isatty(descriptor)
        self._render: list[Processor] = (
            [_json_line] if form is LogFormat.JSON else [_for_people, _console(colours=colours), _encoded]
        )
        levels = list(LogLevel)
        self._written = frozenset(levels[levels.index(level) :])
        self._writer = LineWriter(descriptor, self._dropped_line, lines_max=lines_max, bytes_max=bytes_max)
        logger = structlog.wrap_logger(
            self._writer,
            processors=[self._stamped, *self._render],
            wrapper_class=structlog.make_filtering_bound_logger(str(level)),
        ).bind()
        self.debug: Callable[..., None] = logger.debug
        self.info: Callable[..., None] = logger.info
        self.warning: Callable[..., None] = logger.warning
        self.error: Callable[..., None] = logger.error

    @property
    def dropped(self) -> int:
        """How many lines were lost so far because nobody took them in time."""
        return self._writer.dropped

    def writes(self, level: str) -> bool:
        """Whether lines of this level are written."""
        return level in self._written

    def close(self, timeout: float) -> bool:
        """Flush for at most `timeout` seconds; True if everything went out. Later lines are dropped."""
        return self._writer.close(timeout)

    def _stamped(self, _logger: object, level: str, event: EventDict) -> EventDict:
        return {"time": self.time(), "level": level, "event": event.pop("event"), **event}

    def time(self) -> str:
        """RFC 3339; all but the milliseconds is formatted once a second."""
        now = self._wall()
        second = int(now)
        stamp = self._stamp
        if stamp[0] != second:
            stamp = self._stamp = (second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}")
        return stamp[1] + _MILLISECONDS[int((now - second) * 1000)]

    def _dropped_line(self, lines: int) -> bytes:
        line: Any = self._stamped(None, "warning", {"event": "log_dropped", "lines": lines})
        for process in self._render:
            line = process(None, "warning", line)
        return bytes(line)


def _json_line(_logger: object, _level: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=_type_name, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return lenient_json(event) + b"\n"


def _type_name(value: object) -> str:
    return type(value).__name__


def lenient_json(value: object, default: Callable[[Any], Any] = _type_name) -> bytes:
    """JSON where orjson refuses: text that is no Unicode (raw header bytes) gets `?`, integers any size."""
    return json.dumps(value, ensure_ascii=False, default=default).encode("utf-8", "replace")


def _for_people(_logger: object, _level: str, event: EventDict) -> EventDict:
    """People do not count what is empty, and their terminals obey what is not printable."""
    return {
        name: printable(value) if isinstance(value, str) else value
        for name, value in event.items()
        if value != ""
    }


def _console(*, colours: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, timestamp_key="time")


def _encoded(_logger: object, _level: str, line: Any) -> bytes:
    return f"{line}\n".encode("utf-8", "replace")


def printable(text: str) -> str:
    """`text` with `?` for whatever could steer a terminal or is no Unicode."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))


class LibraryLog(logging.Handler):
    """Takes the standard library's log records into `log` as the event `library`.

    Only what code chose goes through: the logger, the place of the call, the exception's type and the place
    that raised it. Messages, arguments and tracebacks stay out.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields = {"logger": record.name, "place": f"{record.module}.{record.funcName}:{record.lineno}"}
        exception = record.exc_info[1] if record.exc_info else None
        if exception is not None:
            fields["exception"] = type(exception).__name__
            fields["raised"] = _place(exception)
        level = next((name for floor, name in _LEVELS if record.levelno >= floor), "debug")
        getattr(self._log, level)("library", **fields)


def _place(exception: BaseException) -> str:
    """File, function and line that raised it; empty where it was never raised."""
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(exception.__traceback__), limit=-1, lookup_lines=False
    )
    return "".join(f"{PurePath(frame.filename).name}:{frame.name}:{frame.lineno}" for frame in frames)


def take_library_logs(log: Log, level: LogLevel) -> None:
    """Make `log` the only place that standard logging and `warnings` of this process go to."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryLog(log)]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
