# SPDX-License-Identifier: Apache-2.0
"""`python -m deploy.samples.load http://reviews:9080/reviews/0 -n 20 -c 2`

It runs beside an application, so it starts fast (standard library only) and connects as applications do: to the name in the URL, or to
`OUTBOUND_HOST` with that name in the Host header where there is no interception.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from deploy.samples.web import BadMessage, fetch

BODY_KEPT = 64 * 1024  # bytes of the last answer


class Answer(NamedTuple):
    """One answer; `status` 0 means that there was none, and `body` says why."""

    status: int
    headers: dict[str, str]
    body: str
    seconds: float


class Target(NamedTuple):
    """What to ask, and how long to wait (seconds)."""

    url: str
    method: str
    headers: dict[str, str]
    timeout: float


async def ask(target: Target) -> Answer:
    """One request on a connection of its own."""
    began = time.monotonic()
    try:
        answer = await fetch(target.url, timeout=target.timeout, method=target.method, headers=target.headers)
    except (OSError, TimeoutError, BadMessage) as error:
        return Answer(0, {}, f"{type(error).__name__}: {error}".rstrip(": "), time.monotonic() - began)
    return Answer(answer.status, dict(answer.headers), answer.body[:BODY_KEPT].decode(errors="replace"), time.monotonic() - began)


async def load(target: Target, *, count: int, connections: int, seconds: float, pause: float) -> list[Answer]:
    """`count` requests, or as many as fit in `seconds` when that is set, over `connections` at once."""
    answers: list[Answer] = []
    end = time.monotonic() + seconds if seconds else None
    left = iter(range(count)) if end is None else None

    async def worker() -> None:
        while (next(left, None) is not None) if left is not None else (time.monotonic() < (end or 0)):
            answers.append(await ask(target))
            if pause:
                await asyncio.sleep(pause)

    await asyncio.gather(*(worker() for _ in range(connections)))
    return answers


def summary(answers: Sequence[Answer]) -> dict[str, object]:
    """Codes (0 counts as `error`), distinct texts of failures, times in seconds and the last answer."""
    codes = collections.Counter(str(a.status) if a.status else "error" for a in answers)
    times = sorted(a.seconds for a in answers)
    return {
        "count": len(answers),
        "codes": dict(sorted(codes.items())),
        "failures": dict(collections.Counter(a.body[:200] for a in answers if a.status == 0 or a.status >= 400).most_common(5)),
        "seconds": {"median": round(times[len(times) // 2], 4), "max": round(times[-1], 4)} if times else {},
        "bodies": dict(collections.Counter(a.body[:200] for a in answers if a.status == 200).most_common(10)),
        "last": answers[-1]._asdict() if answers else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="load", description="Send HTTP requests and print what came back as JSON.")
    parser.add_argument("url")
    parser.add_argument("-n", "--count", type=int, default=1)
    parser.add_argument("-c", "--connections", type=int, default=1, help="requests at once")
    parser.add_argument("-s", "--seconds", type=float, default=0, help="run this long instead of a count")
    parser.add_argument("-p", "--pause", type=float, default=0, help="seconds between the requests of a connection")
    parser.add_argument("-H", "--header", action="append", default=[], help="name: value")
    parser.add_argument("-X", "--method", default="GET")
    parser.add_argument("-t", "--timeout", type=float, default=15, help="seconds for one request")
    parser.add_argument("--direct", action="store_true", help="connect to the URL's host even when OUTBOUND_HOST is set")
    options = parser.parse_args(arguments)
    if options.direct:
        os.environ.pop("OUTBOUND_HOST", None)
    given = {name.strip().lower(): value.strip() for name, _, value in (header.partition(":") for header in options.header)}
    target = Target(options.url, options.method, {"user-agent": "fourmast-load", **given}, options.timeout)
    if not options.url.startswith("http://"):
        parser.error(f"{options.url!r} is not of the form http://host[:port]/path")
    answers = asyncio.run(load(target, count=options.count, connections=options.connections, seconds=options.seconds, pause=options.pause))
    print(json.dumps(summary(answers)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
