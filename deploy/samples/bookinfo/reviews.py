# SPDX-License-Identifier: Apache-2.0
"""Reviews: v1 has no stars, v2 black ones, v3 red ones. v2 waits 10 s for ratings and v3 2.5 s, which is what the fault lesson turns on."""

from __future__ import annotations

import os
import socket

from deploy.samples.bookinfo import PORT, address_of
from deploy.samples.web import BadMessage, Request, Response, fetch, json_response, run

VERSION = os.environ.get("SERVICE_VERSION", "v1")
INSTANCE = os.environ.get("WORKLOAD_NAME") or socket.gethostname()
RATED = os.environ.get("ENABLE_RATINGS", str(VERSION != "v1")).lower() == "true"
COLOUR = os.environ.get("STAR_COLOR", "red" if VERSION == "v3" else "black")
TIMEOUT = 10.0 if COLOUR == "black" else 2.5  # seconds
UNAVAILABLE = "Ratings service is currently unavailable"
TEXTS = {
    "Reviewer1": "Two pairs of twins, one day, and nobody knows who is who: I laughed from the first page to the last.",
    "Reviewer2": "Light and quick. Whoever looks for a deep thought will close the book empty-handed, but smiling.",
}


async def health(_: Request) -> Response:
    return json_response({"status": "Reviews is healthy"})


async def reviews(request: Request) -> Response:
    stars = await _stars(request) if RATED else {}
    entries = []
    for reviewer, text in TEXTS.items():
        entry: dict[str, object] = {"reviewer": reviewer, "text": text}
        if RATED:
            entry["rating"] = {"stars": stars[reviewer], "color": COLOUR} if reviewer in stars else {"error": UNAVAILABLE}
        entries.append(entry)
    body = {"id": request.found["id"], "podname": INSTANCE, "version": VERSION, "reviews": entries}
    return json_response(body)


async def _stars(request: Request) -> dict[str, int]:
    """Stars by reviewer; none when ratings fails, which is no failure of reviews."""
    url = f"{address_of('ratings')}/ratings/{request.found['id']}"
    try:
        answer = await fetch(url, timeout=TIMEOUT, headers=request.forwarded())
        return dict(answer.json()["ratings"]) if answer.status == 200 else {}
    except (OSError, TimeoutError, BadMessage, ValueError, KeyError):
        return {}


if __name__ == "__main__":
    run([("GET", "/health", health), ("GET", "/reviews/(?P<id>[^/]+)", reviews)], port=PORT)
