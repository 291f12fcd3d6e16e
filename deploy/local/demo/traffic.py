# SPDX-License-Identifier: Apache-2.0
"""Rows about routing, faults, timeouts, retries and circuit breaking: Pilot's work, done by Envoy."""

from __future__ import annotations

import asyncio
import collections
import re

from deploy.local.demo.row import Observation, Row
from deploy.local.demo.world import Page, World, until

ALL_V1 = "bookinfo/config/virtual-service-all-v1.yaml"
JASON_V2 = "bookinfo/config/virtual-service-reviews-test-v2.yaml"
NINETY_TEN = "bookinfo/config/virtual-service-reviews-90-10.yaml"
DELAY = "bookinfo/config/virtual-service-ratings-test-delay.yaml"
ABORT = "bookinfo/config/virtual-service-ratings-test-abort.yaml"
TIMEOUT = "demo/config/reviews-timeout.yaml"
RETRIES, NO_RETRIES = "demo/config/flaky-retries.yaml", "demo/config/flaky-no-retries.yaml"
BREAKER = "demo/config/echo-circuit-breaker.yaml"
ECHO_RETRIES = "demo/config/echo-retries.yaml"

REVIEWS_SORRY = "Sorry, product reviews are currently unavailable for this book."
RATINGS_SORRY = "Ratings service is currently unavailable"


async def gateway_page(world: World) -> Observation:
    async def good() -> bool:
        return (await world.page()).status == 200

    await until(good, within=2 if world.sabotaged else world.settle)
    page = await world.page()
    title = "Simple Bookstore App" in page.body
    return Observation(page.status == 200 and title, f"{page.status}, title {'found' if title else 'missing'}")


async def all_v1(world: World) -> Observation:
    async def no_stars() -> bool:
        pages = [await world.page() for _ in range(6)]
        return all(_stars(page) == 0 for page in pages)

    await until(no_stars, within=world.settle)
    pages = [await world.page() for _ in range(20)]
    starred = sum(_stars(page) > 0 for page in pages)
    good = sum(page.status == 200 and REVIEWS_SORRY not in page.body for page in pages)
    return Observation(starred == 0 and good == 20, f"{good} of 20 pages good, {starred} with stars")


async def by_user(world: World) -> Observation:
    async def routed() -> bool:
        return (await world.page(user="jason")).black_stars > 0 and all([_stars(await world.page()) == 0 for _ in range(5)])

    await until(routed, within=world.settle)
    jason = [await world.page(user="jason") for _ in range(8)]
    others = [await world.page(user="anna" if n % 2 else None) for n in range(8)]
    black = sum(page.black_stars > 0 and page.red_stars == 0 for page in jason)
    none = sum(_stars(page) == 0 for page in others)
    return Observation(black == 8 and none == 8, f"jason: black stars on {black} of 8; others: none on {none} of 8")


async def ninety_ten(world: World) -> Observation:
    async def share(count: int) -> tuple[int, int]:
        summary = await world.send("productpage-v1", "http://reviews:9080/reviews/0", "-n", str(count), "-c", "4")
        versions: collections.Counter[str] = collections.Counter()
        for body, number in summary["bodies"].items():
            found = re.search(r'"version": "(v\d)"', body)
            versions[found[1] if found else "none"] += number
        return versions["v1"], versions["v2"]

    async def mixed() -> bool:
        v1, v2 = await share(40)
        return v1 + v2 == 40 and v2 > 0

    await until(mixed, within=world.settle)
    v1, v2 = await share(400)
    percent = 100 * v2 / 400
    return Observation(v1 + v2 == 400 and abs(percent - 10) <= 5, f"v1 {v1}, v2 {v2} of 400: {percent:.1f} % to v2")


async def delay(world: World) -> Observation:
    """productpage gives up on reviews after 3 s, twice, although reviews itself would wait for ratings."""

    async def slow() -> bool:
        return (await world.page(user="jason")).seconds > 1

    await until(slow, within=1 if world.sabotaged else world.settle)  # each try takes as long as the row itself
    page = await world.page(user="jason")
    other = await world.page()
    ok = 5.5 <= page.seconds <= 7.5 and REVIEWS_SORRY in page.body and other.seconds < 2 and REVIEWS_SORRY not in other.body
    said = "reviews unavailable" if REVIEWS_SORRY in page.body else "no such text"
    return Observation(ok, f"jason: {said} after {page.seconds:.1f} s; others {other.seconds:.1f} s")


async def abort(world: World) -> Observation:
    async def broken() -> bool:
        return RATINGS_SORRY in (await world.page(user="jason")).body

    await until(broken, within=world.settle)
    page, other = await world.page(user="jason"), await world.page()
    ok = page.status == 200 and RATINGS_SORRY in page.body and page.seconds < 2 and RATINGS_SORRY not in other.body
    said = "ratings unavailable" if RATINGS_SORRY in page.body else "no such text"
    return Observation(ok, f"jason: {page.status}, {said} after {page.seconds:.1f} s; others unaffected: {RATINGS_SORRY not in other.body}")


async def timeout(world: World) -> Observation:
    async def times_out() -> bool:
        return (await world.page("/api/v1/products/0/reviews")).status == 504

    await until(times_out, within=world.settle)
    answer = await world.page("/api/v1/products/0/reviews")
    page = await world.page()
    ok = answer.status == 504 and REVIEWS_SORRY in answer.body and REVIEWS_SORRY in page.body and page.seconds < 2
    said = "reviews unavailable" if REVIEWS_SORRY in page.body else "no such text"
    return Observation(ok, f"{answer.status} after {answer.seconds:.1f} s (two tries of 0.5 s); page: {said}")


async def retries(world: World) -> Observation:
    counter = r"^cluster\.outbound\|8000\|\|flaky.*\.upstream_rq_retry_success$"

    async def retried() -> int:
        return sum((await world.envoy_stats("sleep", counter)).values())

    async def masked() -> bool:
        return bool((await world.send("sleep", "http://flaky:8000/get", "-n", "4"))["codes"] == {"200": 4})

    await until(masked, within=world.settle)
    before = await retried()
    summary = await world.send("sleep", "http://flaky:8000/get", "-n", "20")
    grown = await retried() - before
    return Observation(summary["codes"] == {"200": 20} and grown > 0, f"{_codes(summary)}; Envoy's retry counter grew by {grown}")


async def circuit_breaker(world: World) -> Observation:
    counter = r"^cluster\.outbound\|8000\|\|echo.*\.upstream_rq_pending_overflow$"

    async def overflowed() -> int:
        return sum((await world.envoy_stats("sleep", counter)).values())

    async def breaks() -> bool:
        return "503" in (await world.send("sleep", "http://echo:8000/delay/0.05", "-n", "12", "-c", "6"))["codes"]

    await until(breaks, within=world.settle)
    before = await overflowed()
    summary = await world.send("sleep", "http://echo:8000/delay/0.05", "-n", "40", "-c", "6")
    grown, refused = await overflowed() - before, summary["codes"].get("503", 0)
    ok = 0 < refused < 40 and refused == grown and any("overflow" in text for text in summary["failures"])
    return Observation(ok, f"{_codes(summary)} of 40 at 6 in parallel; Envoy counted {grown} overflows (UO)")


async def instance_lost(world: World) -> Observation:
    """Needs both instances of echo at first; the killed one is started again at the end."""

    async def endpoints() -> int:
        text = await world.mesh.workload("sleep").admin("/clusters")
        lines = [line for line in text.splitlines() if line.startswith("outbound|8000||echo.") and "::health_flags::" in line]
        return len(lines)

    async def both() -> bool:
        return await endpoints() == 2

    async def one() -> bool:
        return await endpoints() == 1

    await until(both, within=world.settle)
    before = await endpoints()
    traffic = asyncio.create_task(world.send("sleep", "http://echo:8000/get", "-s", "6", "-c", "2", "-p", "0.02"))
    await asyncio.sleep(1.5)
    if not world.sabotaged:
        await world.mesh.workload("echo-v2").kill()
    left = await until(one, within=world.settle)
    summary = await traffic
    after = await endpoints()
    if not world.sabotaged:
        await world.mesh.workload("echo-v2").start()
        await until(both, within=30)
    ok = before == 2 and left and set(summary["codes"]) == {"200"}
    return Observation(ok, f"endpoints {before} -> {after}; {_codes(summary)} of {summary['count']} requests meanwhile")


def _stars(page: Page) -> int:
    return page.black_stars + page.red_stars


def _codes(summary: dict[str, object]) -> str:
    codes = summary["codes"]
    assert isinstance(codes, dict)
    return ", ".join(f"{count} x {code}" for code, count in codes.items()) or "nothing"


ROWS = (
    Row(
        "gateway",
        "A page through the ingress gateway",
        "200, title Simple Bookstore App",
        (),
        ("bookinfo/config/gateway.yaml",),
        gateway_page,
    ),
    Row("all-v1", "Every request to version 1", "20 of 20 pages without stars", (ALL_V1,), (ALL_V1,), all_v1),
    Row("by-user", "Routing by user", "jason black stars, others none", (ALL_V1, JASON_V2), (JASON_V2,), by_user),
    Row("split", "Weighted routing 90/10", "5 to 15 % of 400 requests to v2", (ALL_V1, NINETY_TEN), (NINETY_TEN,), ninety_ten),
    Row("delay", "Fault: ratings delayed 7 s for jason", "reviews unavailable after about 6 s", (ALL_V1, JASON_V2, DELAY), (DELAY,), delay),
    Row("abort", "Fault: ratings aborted with 500 for jason", "ratings unavailable at once", (ALL_V1, JASON_V2, ABORT), (ABORT,), abort),
    Row("timeout", "Timeout of 0.5 s to reviews", "504 and reviews unavailable", (ALL_V1, TIMEOUT), (TIMEOUT,), timeout),
    Row(
        "retries",
        "Retries hide an alternately failing backend",
        "20 x 200, retry counter grows",
        (NO_RETRIES, RETRIES),
        (RETRIES,),
        retries,
    ),
    Row("breaker", "Circuit breaker: maxConnections 1", "some 503 with flag UO", (BREAKER,), (BREAKER,), circuit_breaker),
    Row("instance", "One of two instances killed", "its endpoint leaves, no request fails", (ECHO_RETRIES,), (), instance_lost),
)
