# SPDX-License-Identifier: Apache-2.0
"""Ratings: stars by reviewer. `SERVICE_VERSION` may ask for trouble: v-faulty, v-delayed, v-unavailable, v-unhealthy."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time

from deploy.samples.bookinfo import PORT
from deploy.samples.web import Request, Response, json_response, run

VERSION = os.environ.get("SERVICE_VERSION", "v1")
STARTED = time.monotonic()
DELAY = 7.0  # seconds, of half the answers of v-delayed
CYCLES = {"v-unavailable": 60.0, "v-unhealthy": 15 * 60.0}  # seconds of each good or bad phase
_posted: dict[int, dict[str, int]] = {}


def _in_bad_phase() -> bool:
    cycle = CYCLES.get(VERSION)
    return cycle is not None and int((time.monotonic() - STARTED) / cycle) % 2 == 1


async def health(_: Request) -> Response:
    if VERSION == "v-unhealthy" and _in_bad_phase():
        return json_response({"status": "Ratings is not healthy"}, 500)
    return json_response({"status": "Ratings is healthy"})


async def get(request: Request) -> Response:
    number = _number(request)
    if number is None:
        return json_response({"error": "please provide numeric product ID"}, 400)
    if _in_bad_phase() or (VERSION == "v-faulty" and random.random() < 0.5):
        return json_response({"error": "Service unavailable"}, 503)
    if VERSION == "v-delayed" and random.random() < 0.5:
        await asyncio.sleep(DELAY)
    return json_response({"id": number, "ratings": _posted.get(number, {"Reviewer1": 5, "Reviewer2": 4})})


async def post(request: Request) -> Response:
    number = _number(request)
    if number is None:
        return json_response({"error": "please provide numeric product ID"}, 400)
    try:
        ratings = {str(name): int(stars) for name, stars in json.loads(request.body).items()}
    except (ValueError, AttributeError, TypeError):
        return json_response({"error": "please provide valid ratings JSON"}, 400)
    _posted[number] = ratings
    return json_response({"id": number, "ratings": ratings})


def _number(request: Request) -> int | None:
    text = request.found["id"]
    return int(text) if text.isascii() and text.isdigit() else None


if __name__ == "__main__":
    run([("GET", "/health", health), ("GET", "/ratings/(?P<id>[^/]+)", get), ("POST", "/ratings/(?P<id>[^/]+)", post)], port=PORT)
