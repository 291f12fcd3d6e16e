# SPDX-License-Identifier: Apache-2.0
"""Productpage: the page itself. It waits 3.0 s for details and for reviews, and asks reviews twice."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from deploy.samples.bookinfo import PORT, address_of
from deploy.samples.web import BadMessage, Request, Response, fetch, html_response, json_response, run

TIMEOUT = 3.0  # seconds for one try
REVIEW_TRIES = 2
COOKIE = "session"
PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "Two sets of twins, parted by a storm as children, come to one town on one day. "
    "<b>Shakespeare</b> lets everybody take everybody for somebody else.",
}
SORRY = "Sorry, product {} are currently unavailable for this book."

Found = tuple[int, dict[str, Any]]


async def _ask(service: str, path: str, request: Request, *, tries: int = 1) -> Found:
    """Status and JSON of a service; an `error` text when it does not answer well in time."""
    headers = request.forwarded()
    headers.pop("end-user", None)  # who the user is, is for the session to say and not for the browser's headers
    if user := _user(request):
        headers["end-user"] = user
    status = 500
    for _ in range(tries):
        try:
            answer = await fetch(f"{address_of(service)}{path}", timeout=TIMEOUT, headers=headers)
            if answer.status == 200:
                return 200, answer.json()
            status = answer.status
        except (OSError, TimeoutError, BadMessage, ValueError):
            status = 500
    return status, {"error": SORRY.format("details" if service == "details" else service)}


def _user(request: Request) -> str:
    """The name in the session; a sample believes it. Characters that a header cannot carry make it nobody's."""
    name = urllib.parse.unquote(request.cookies().get(COOKIE, ""))
    return name if re.fullmatch(r"[\w.@+-]{1,64}", name, re.ASCII) else ""


def _passed_on(found: Found) -> Response:
    status, value = found
    return json_response(value, status)


async def health(_: Request) -> Response:
    return Response(200, b"Product page is healthy")


async def index(_: Request) -> Response:
    return html_response(
        _frame("<h3>A bookshop with one book</h3><p><a href='/productpage'>See it</a>, with its details and its reviews.</p>", "")
    )


async def style(_: Request) -> Response:
    return Response(200, STYLE.encode(), {"content-type": "text/css", "cache-control": "max-age=60"})


async def login(request: Request) -> Response:
    user = urllib.parse.quote(request.form().get("username", ""))
    return Response(302, b"", {"location": "/productpage", "set-cookie": f"{COOKIE}={user}; Path=/; HttpOnly; SameSite=Lax"})


async def logout(_: Request) -> Response:
    return Response(302, b"", {"location": "/productpage", "set-cookie": f"{COOKIE}=; Path=/; Max-Age=0"})


async def products(_: Request) -> Response:
    return json_response([PRODUCT])


async def product(request: Request) -> Response:
    return _passed_on(await _ask("details", f"/details/{request.found['id']}", request))


async def product_reviews(request: Request) -> Response:
    return _passed_on(await _ask("reviews", f"/reviews/{request.found['id']}", request, tries=REVIEW_TRIES))


async def product_ratings(request: Request) -> Response:
    return _passed_on(await _ask("ratings", f"/ratings/{request.found['id']}", request))


async def page(request: Request) -> Response:
    details_status, details = await _ask("details", "/details/0", request)
    reviews_status, reviews = await _ask("reviews", "/reviews/0", request, tries=REVIEW_TRIES)
    body = f"""
<div class="book"><h3 class="text-center">{PRODUCT["title"]}</h3><p>Summary: {PRODUCT["descriptionHtml"]}</p></div>
<div class="columns">
<section><h4>Book Details</h4>{_details(details_status, details)}</section>
<section><h4>Book Reviews</h4>{_reviews(reviews_status, reviews)}</section>
</div>"""
    return html_response(_frame(body, _user(request)))


def _details(status: int, details: Mapping[str, Any]) -> str:
    if status != 200:
        return f"<p class='error'>Error fetching product details!</p><p>{html.escape(details['error'])}</p>"
    rows = "".join(f"<dt>{name}:</dt><dd>{html.escape(str(details.get(key, '')))}</dd>" for key, name in DETAIL_ROWS.items())
    return f"<dl>{rows}</dl>"


DETAIL_ROWS = {
    "type": "Type",
    "pages": "Pages",
    "publisher": "Publisher",
    "language": "Language",
    "ISBN-10": "ISBN-10",
    "ISBN-13": "ISBN-13",
}


def _reviews(status: int, reviews: Mapping[str, Any]) -> str:
    if status != 200:
        return f"<p class='error'>Error fetching product reviews!</p><p>{html.escape(reviews['error'])}</p>"
    parts = []
    for review in reviews["reviews"]:
        parts.append(
            f"<blockquote><p>{html.escape(review['text'])}</p><small>{html.escape(review['reviewer'])}</small>{_rating(review.get('rating'))}</blockquote>"
        )
    return "".join(parts) + f"<p class='from'>Reviews served by: {html.escape(str(reviews.get('version', '')))}</p>"


def _rating(rating: Mapping[str, Any] | None) -> str:
    if rating is None:
        return ""
    if "error" in rating:
        return f"<p><i>{html.escape(rating['error'])}</i></p>"
    full, colour = int(rating["stars"]), html.escape(rating["color"])
    glyphs = "<span class='glyphicon glyphicon-star'>★</span>" * full + "<span class='glyphicon glyphicon-star-empty'>☆</span>" * (5 - full)
    return f'<font color="{colour}">{glyphs}</font>'


STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#222}
nav{background:#16324f;color:#fff;padding:.8rem 1.5rem;display:flex;justify-content:space-between}nav form{display:inline}
main{padding:1rem 1.5rem}.text-center{text-align:center}.columns{display:grid;grid-template-columns:1fr 2fr;gap:2rem}
dt{font-weight:600}dd{margin:0 0 .4rem}blockquote{border-left:4px solid #d7dee6;margin:0 0 1rem;padding:.2rem 1rem}
.error{color:#b3261e;font-weight:600}
.glyphicon{font-size:1.3rem}.from{color:#667}
"""


def _frame(body: str, user: str) -> str:
    if user:
        sign = f"<span>{html.escape(user)} (<a style='color:#cfe3f5' href='/logout'>sign out</a>)</span>"
    else:
        sign = '<form method="post" action="/login"><input name="username" placeholder="User name"> <button>Sign in</button></form>'
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Simple Bookstore App</title>"
        "<link rel='stylesheet' href='/static/bookinfo.css'></head>"
        f"<body><nav><b>Bookinfo</b>{sign}</nav><main>{body}</main></body></html>"
    )


ROUTES = [
    ("GET", "/", index),
    ("GET", "/health", health),
    ("GET", "/static/bookinfo.css", style),
    ("GET", "/productpage", page),
    ("POST", "/login", login),
    ("GET", "/logout", logout),
    ("GET", "/api/v1/products", products),
    ("GET", "/api/v1/products/(?P<id>[0-9]+)", product),
    ("GET", "/api/v1/products/(?P<id>[0-9]+)/reviews", product_reviews),
    ("GET", "/api/v1/products/(?P<id>[0-9]+)/ratings", product_ratings),
]

if __name__ == "__main__":
    run(ROUTES, port=PORT)
