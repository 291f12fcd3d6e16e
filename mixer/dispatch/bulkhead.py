# SPDX-License-Identifier: Apache-2.0
"""Between Mixer and one handler: a time limit, a bound on calls at once, and an account of both. One handler's trouble stays its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mixer.errors import AdapterError


class Bulkhead:
    """Calls one handler. Answers that are there at once pass through; awaited ones are limited to `timeout` seconds and `concurrency` at a time."""

    def __init__(self, handler: str, *, timeout: float, concurrency: int) -> None:
        self._handler, self._timeout, self._concurrency = handler, timeout, concurrency
        self._waiting = 0

    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the handler: its answer, or an awaitable of it. Raises AdapterError."""
        try:
            answer = function(*arguments)
        except Exception as error:
            raise self._failed(error) from error
        if not isinstance(answer, Awaitable):
            return answer
        if self._waiting >= self._concurrency:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
            raise AdapterError(f"handler {self._handler} has {self._waiting} calls in flight; the call was refused")
        self._waiting += 1
        task = asyncio.ensure_future(self._wait(answer))
        task.add_done_callback(self._ended)
        return task

    def _ended(self, _: object) -> None:
        self._waiting -= 1

    async def _wait(self, answer: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError as error:
            raise AdapterError(f"handler {self._handler} did not answer within {self._timeout:g} s") from error
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> AdapterError:
        return (
            error if isinstance(error, AdapterError) else AdapterError(f"handler {self._handler} failed: {type(error).__name__}: {error}")
        )
