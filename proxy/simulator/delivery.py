"""An answer on its way to the caller, whole or spoilt.

Concurrency is freed just before the last piece of an answer is written, so that a caller may use the
slot as soon as it has the answer, and not before.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from aiohttp import web
from multidict import CIMultiDict

from proxy.clock import Clock
from proxy.simulator.answers import Answer
from proxy.simulator.calls import Begun
from proxy.simulator.faults import Fate

PIECE_BYTES = 64 * 1024
SLOW_PIECES = 8
SLOW_SECONDS = 1.0
"""Between two pieces of a slow body."""
GIVES_UP_SECONDS = 300.0
"""After which Xero drops a call that it never answered."""
_WATCH_SECONDS = 0.1
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: closing sends a reset instead of an orderly end."""
_GARBAGE = b"\x15\x03\x01\x00\x02\x02\x50 this is not HTTP\r\n\r\n"


async def deliver(
    request: web.BaseRequest, begun: Begun, clock: Clock, finish: Callable[[], None]
) -> web.StreamResponse:
    """Send the answer as its fate wants it. ConnectionError if the caller leaves."""
    answer = begun.answer
    match begun.fate:
        case Fate.ANSWERED if len(answer.body) <= PIECE_BYTES:
            return whole(answer)
        case Fate.ANSWERED:
            return await _in_pieces(request, answer, PIECE_BYTES, finish)
        case Fate.SLOW:
            size = max(1, -(-len(answer.body) // SLOW_PIECES))
            return await _in_pieces(request, answer, size, finish, clock)
        case Fate.TRUNCATED:
            return await _cut_short(request, answer)
        case Fate.GARBAGE:
            return _garbled(request)
        case Fate.HUNG:
            await _wait_for_leaving(request, clock)
    return dropped(request)


def whole(answer: Answer) -> web.Response:
    """The answer as it is meant."""
    return web.Response(status=answer.status, headers=_fields(answer), body=answer.body)


def dropped(request: web.BaseRequest) -> web.Response:
    """The connection ends with a TCP reset; aiohttp finds nobody to send the response to."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.transport.abort()
    return web.Response()


async def _in_pieces(
    request: web.BaseRequest,
    answer: Answer,
    size: int,
    finish: Callable[[], None],
    pause: Clock | None = None,
) -> web.StreamResponse:
    body = answer.body
    response = _head(answer, len(body))
    await response.prepare(request)
    last = max(0, (len(body) - 1) // size * size)
    for start in range(0, last, size):
        await response.write(body[start : start + size])
        if pause:
            await pause.sleep_until(pause.now() + SLOW_SECONDS)
    finish()
    await response.write(body[last:])
    await response.write_eof()
    return response


async def _cut_short(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """More promised than sent, then the end of the connection."""
    response = _head(answer, max(1, len(answer.body)))
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _garbled(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.write(_GARBAGE)
        request.transport.close()
    return web.Response()


async def _wait_for_leaving(request: web.BaseRequest, clock: Clock) -> None:
    """Until the caller is gone or Xero would give up. aiohttp tells a handler no other way than this."""
    ends = clock.now() + GIVES_UP_SECONDS
    while (transport := request.transport) and not transport.is_closing() and clock.now() < ends:
        await clock.sleep_until(clock.now() + _WATCH_SECONDS)


def _head(answer: Answer, length: int) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_fields(answer))
    response.content_length = length
    return response


def _fields(answer: Answer) -> CIMultiDict[str]:
    fields = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
    fields["Server"] = "nginx"
    return fields
