# SPDX-License-Identifier: Apache-2.0
"""Bookinfo as its own processes on loopback, without a mesh: the answers, time-outs and texts that the lessons turn on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.samples import web
from deploy.samples.bookinfo import productpage, reviews
from deploy.samples.web import BadMessage, Request, Response, fetch, json_response

ROOT = Path(__file__).parents[4]
NET = f"127.77.{os.getpid() % 250 + 1}"  # a loopback address for each process, as in none mode
PRODUCTPAGE, DETAILS, RATINGS = f"{NET}.1", f"{NET}.2", f"{NET}.3"
REVIEWS = {"v1": f"{NET}.11", "v2": f"{NET}.12", "v3": f"{NET}.13"}


async def start(module: str, host: str, **environment: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"deploy.samples.{module}", cwd=ROOT, env={"PATH": os.environ["PATH"], "BIND_HOST": host, **environment}
    )
    port = int(environment.get("PORT", 9080))
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return process
        assert process.returncode is None, f"{module} ended at once"
        await asyncio.sleep(0.02)
    raise TimeoutError(module)


async def stop(process: asyncio.subprocess.Process) -> int:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    return await asyncio.wait_for(process.wait(), 10)


@pytest.fixture(scope="module")
async def bookinfo() -> AsyncIterator[None]:
    names = {"DETAILS_HOSTNAME": DETAILS, "REVIEWS_HOSTNAME": REVIEWS["v2"], "RATINGS_HOSTNAME": RATINGS}
    processes = await asyncio.gather(
        start("bookinfo.productpage", PRODUCTPAGE, **names),
        start("bookinfo.details", DETAILS),
        start("bookinfo.ratings", RATINGS),
        *(start("bookinfo.reviews", host, SERVICE_VERSION=version, **names) for version, host in REVIEWS.items()),
    )
    yield
    assert await asyncio.gather(*(stop(process) for process in processes)) == [0] * len(processes)


def stars(page: str, colour: str) -> int:
    groups = re.findall(rf'<font color="{colour}">(.*?)</font>', page)
    return sum(group.count("glyphicon-star'") for group in groups)


@pytest.mark.usefixtures("bookinfo")
class TestServices:
    async def test_the_page_shows_details_reviews_and_black_stars(self) -> None:
        answer = await fetch(f"http://{PRODUCTPAGE}:9080/productpage", timeout=5)
        page = answer.body.decode()
        assert answer.status == 200
        assert "<title>Simple Bookstore App</title>" in page
        assert "1234567890" in page
        assert "Reviewer1" in page
        assert (stars(page, "black"), stars(page, "red")) == (9, 0)

    @pytest.mark.parametrize(("version", "rating"), [("v1", None), ("v2", "black"), ("v3", "red")])
    async def test_each_version_of_reviews_has_its_stars(self, version: str, rating: str | None) -> None:
        found = (await fetch(f"http://{REVIEWS[version]}:9080/reviews/0", timeout=5)).json()
        assert [entry.get("rating", {}).get("color") for entry in found["reviews"]] == [rating, rating]
        assert found["version"] == version

    async def test_details_and_ratings_answer_by_number(self) -> None:
        details = (await fetch(f"http://{DETAILS}:9080/details/3", timeout=5)).json()
        assert (details["id"], details["author"], details["year"]) == (3, "William Shakespeare", 1595)
        assert (await fetch(f"http://{DETAILS}:9080/details/x", timeout=5)).status == 400
        ratings = (await fetch(f"http://{RATINGS}:9080/ratings/3", timeout=5)).json()
        assert ratings == {"id": 3, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
        assert (await fetch(f"http://{RATINGS}:9080/ratings/x", timeout=5)).status == 400

    async def test_ratings_can_be_given(self) -> None:
        posted = await fetch(f"http://{RATINGS}:9080/ratings/7", timeout=5, method="POST", body=b'{"Reviewer1": 1, "Reviewer2": 2}')
        assert posted.status == 200
        assert (await fetch(f"http://{RATINGS}:9080/ratings/7", timeout=5)).json()["ratings"] == {"Reviewer1": 1, "Reviewer2": 2}
        assert (await fetch(f"http://{RATINGS}:9080/ratings/7", timeout=5, method="POST", body=b"[1]")).status == 400

    async def test_every_service_is_healthy_and_knows_its_paths(self) -> None:
        for host in (PRODUCTPAGE, DETAILS, RATINGS, *REVIEWS.values()):
            assert (await fetch(f"http://{host}:9080/health", timeout=5)).status == 200
            assert (await fetch(f"http://{host}:9080/absent", timeout=5)).status == 404

    async def test_the_programming_interface(self) -> None:
        base = f"http://{PRODUCTPAGE}:9080/api/v1/products"
        assert [product["id"] for product in (await fetch(base, timeout=5)).json()] == [0]
        assert (await fetch(f"{base}/0", timeout=5)).json()["pages"] == 200
        assert len((await fetch(f"{base}/0/reviews", timeout=5)).json()["reviews"]) == 2
        assert (await fetch(f"{base}/0/ratings", timeout=5)).json()["id"] == 0
        assert (await fetch(f"http://{PRODUCTPAGE}:9080/static/bookinfo.css", timeout=5)).headers["content-type"] == "text/css"


class Asked(NamedTuple):
    """What a stand-in for a service was asked."""

    service: str
    headers: dict[str, str]


@contextlib.asynccontextmanager
async def stand_ins(monkeypatch: pytest.MonkeyPatch, **behaviour: Response | float) -> AsyncIterator[list[Asked]]:
    """Services that answer as told: a response, or seconds of silence."""
    asked: list[Asked] = []
    servers = []
    for number, (service, answer) in enumerate(behaviour.items()):
        host = f"{NET}.{100 + number}"
        monkeypatch.setenv(f"{service.upper()}_HOSTNAME", host)

        async def handle(request: Request, service: str = service, answer: Response | float = answer) -> Response:
            asked.append(Asked(service, dict(request.headers)))
            if isinstance(answer, Response):
                return answer
            await asyncio.sleep(answer)
            return json_response({"late": True})

        servers.append(await asyncio.start_server(web.Site([("GET", ".*", handle)]).connection, host, 9080))
    try:
        yield asked
    finally:
        for server in servers:
            server.close()


DETAILS_ANSWER = json_response({"type": "paperback"})
REVIEWS_ANSWER = json_response({"reviews": [{"reviewer": "R", "text": "t", "rating": {"error": reviews.UNAVAILABLE}}]})


def visit(**headers: str) -> Request:
    return Request("GET", "/productpage", {}, headers, b"")


def test_the_waits_are_the_ones_the_lessons_are_made_for() -> None:
    assert (productpage.TIMEOUT, productpage.REVIEW_TRIES) == (3.0, 2)
    assert reviews.TIMEOUT == 10.0  # v1 and v2; v3 is seen below


async def test_version_3_waits_shorter_for_ratings(tmp_path: Path) -> None:
    script = "from deploy.samples.bookinfo import reviews; print(reviews.TIMEOUT, reviews.COLOUR)"
    environment = {"SERVICE_VERSION": "v3"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.split() == [b"2.5", b"red"]


async def test_slow_reviews_are_asked_twice_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(productpage, "TIMEOUT", 0.15)
    async with stand_ins(monkeypatch, details=DETAILS_ANSWER, reviews=5.0) as asked:
        began = asyncio.get_running_loop().time()
        page = (await productpage.page(visit())).body.decode()
        took = asyncio.get_running_loop().time() - began
    assert [one.service for one in asked] == ["details", "reviews", "reviews"]
    assert 0.3 <= took < 1
    assert "Sorry, product reviews are currently unavailable for this book." in page
    assert "paperback" in page


async def test_slow_details_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(productpage, "TIMEOUT", 0.1)
    async with stand_ins(monkeypatch, details=5.0, reviews=REVIEWS_ANSWER) as asked:
        page = (await productpage.page(visit())).body.decode()
    assert [one.service for one in asked] == ["details", "reviews"]
    assert "Sorry, product details are currently unavailable for this book." in page
    assert "Ratings service is currently unavailable" in page


@pytest.mark.parametrize(("service", "status"), [("details", 404), ("reviews", 503), ("ratings", 500)])
async def test_the_programming_interface_passes_a_failure_on(monkeypatch: pytest.MonkeyPatch, service: str, status: int) -> None:
    async with stand_ins(monkeypatch, **{service: Response(status)}):
        handler = {"details": productpage.product, "reviews": productpage.product_reviews, "ratings": productpage.product_ratings}[service]
        answer = await handler(visit()._replace(found={"id": "0"}))
    assert answer.status == status
    assert answer.json() == {"error": f"Sorry, product {service} are currently unavailable for this book."}


async def test_failing_ratings_leave_reviews_without_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "RATED", True)
    async with stand_ins(monkeypatch, ratings=Response(500)) as asked:
        answer = await reviews.reviews(Request("GET", "/reviews/0", {}, {"end-user": "jason", "x-request-id": "7"}, b"", {"id": "0"}))
    assert answer.status == 200
    assert [entry["rating"] for entry in answer.json()["reviews"]] == [{"error": "Ratings service is currently unavailable"}] * 2
    assert (asked[0].headers["end-user"], asked[0].headers["x-request-id"]) == ("jason", "7")


async def test_who_signed_in_is_passed_on_and_what_a_browser_claims_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    signed_in = await productpage.login(visit()._replace(method="POST", body=b"username=jason&passwd=x"))
    assert signed_in.status == 302
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    trace = {"x-b3-traceid": "a", "x-b3-spanid": "b", "x-b3-sampled": "1", "x-request-id": "c", "user-agent": "d"}
    async with stand_ins(monkeypatch, details=DETAILS_ANSWER, reviews=REVIEWS_ANSWER) as asked:
        page = (await productpage.page(visit(cookie=cookie, **trace))).body.decode()
        await productpage.page(visit(**{"end-user": "jason"}))
        await productpage.page(visit(cookie="session=a%0d%0aend-user:%20jason"))
    assert "jason" in page
    assert [one.headers.get("end-user") for one in asked] == ["jason", "jason", None, None, None, None]
    assert {name: asked[0].headers[name] for name in trace} == trace


async def test_no_header_can_end_a_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        await fetch("http://127.0.0.1:1/", timeout=1, headers={"x": "a\r\nhost: b"})


async def test_without_interception_the_outbound_host_is_called_and_the_name_stays_in_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stand_ins(monkeypatch, details=DETAILS_ANSWER) as asked:
        monkeypatch.setenv("OUTBOUND_HOST", os.environ["DETAILS_HOSTNAME"])
        monkeypatch.delenv("DETAILS_HOSTNAME")
        assert (await productpage.product(visit()._replace(found={"id": "0"}))).status == 200
    assert asked[0].headers["host"] == "details:9080"


async def test_a_request_under_way_is_answered_although_the_process_was_asked_to_stop() -> None:
    host = f"{NET}.50"
    process = await start("echo", host, PORT="8000")
    _, idle = await asyncio.open_connection(host, 8000)  # a kept-alive connection must not hold the process up
    answer = asyncio.ensure_future(fetch(f"http://{host}:8000/delay/0.4", timeout=5))
    await asyncio.sleep(0.15)
    began = asyncio.get_running_loop().time()
    process.send_signal(signal.SIGTERM)
    assert (await answer).status == 200
    assert await asyncio.wait_for(process.wait(), 5) == 0
    assert asyncio.get_running_loop().time() - began < 2
    idle.close()
    with pytest.raises((OSError, BadMessage)):
        await fetch(f"http://{host}:8000/get", timeout=1)
