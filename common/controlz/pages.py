# SPDX-License-Identifier: Apache-2.0
"""ControlZ: version, settings with their origins, log scopes (changeable), memory, tasks, recent spans; each as a page and as JSON.

Loopback is not authentication: a caller brings an API token signed by Citadel, as a bearer or once through the login form,
the Host header must name this machine, and changing anything takes the admin role and a request of our own origin.
"""

from __future__ import annotations

import asyncio
import html
import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from common.identity.errors import TokenError
from common.identity.tokens import Caller, TokenVerifier
from common.lifecycle.component import Life
from common.lifecycle.settings import Effective
from common.telemetry.logging import LEVELS, scopes
from common.telemetry.tracing import UNTRACED_HTTP, recent_spans

COOKIE = "fourmast-ctrlz"
STARTED = time.time()
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

Rows = list[dict[str, str]]


def _version() -> Rows:
    return [{"version": importlib.metadata.version("fourmast-common"), "python": platform.python_version(), "machine": platform.machine()}]


def _memory() -> Rows:
    process = psutil.Process()
    info = process.memory_info()
    return [
        {
            "resident MiB": f"{info.rss / 2**20:.1f}",
            "virtual MiB": f"{info.vms / 2**20:.1f}",
            "threads": str(threading.active_count()),
            "open files": str(process.num_fds()),
            "cpu seconds": f"{sum(process.cpu_times()[:2]):.2f}",
            "up seconds": f"{time.time() - STARTED:.0f}",
            "pid": str(os.getpid()),
        }
    ]


def _tasks() -> Rows:
    rows = []
    for task in asyncio.all_tasks():
        frames = task.get_stack(limit=1)
        at = f"{frames[-1].f_code.co_filename.rpartition('/')[2]}:{frames[-1].f_lineno}" if frames else ""
        rows.append({"task": task.get_name(), "at": at})
    return sorted(rows, key=lambda row: row["task"])


def _spans() -> Rows:
    rows = []
    for span in reversed(recent_spans.spans):
        milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        trace_id = f"{span.context.trace_id:032x}" if span.context else ""
        rows.append(
            {
                "span": span.name,
                "milliseconds": f"{milliseconds:.2f}",
                "trace": trace_id,
                **{k: str(v) for k, v in (span.attributes or {}).items()},
            }
        )
    return rows[:200]


def controlz_app(process: str, effective: Effective, lives: Mapping[str, Life], *, jwks_file: Path) -> FastAPI:
    """`jwks_file` holds Citadel's public API keys; while it is missing nobody gets in."""
    app = FastAPI(title=f"{process} ControlZ", docs_url=None, redoc_url=None, openapi_url=None, telemetry=UNTRACED_HTTP)
    verifier = TokenVerifier.from_jwks(jwks_file)

    def settings() -> Rows:
        rows = []
        for line in effective.lines():
            name, _, rest = line.partition(" = ")
            value, _, origin = rest.rpartition("  (")
            rows.append({"setting": name, "value": value, "origin": origin.rstrip(")")})
        return rows

    def components() -> Rows:
        return [
            {
                "component": name,
                "state": life.reason or (f"ready; {life.remark}" if life.remark else "ready"),
                "listens": ", ".join(f"{k} {v}" for k, v in life.addresses.items()),
            }
            for name, life in lives.items()
        ]

    def log_scopes() -> Rows:
        return [{"scope": scope, "level": level} for scope, level in scopes.levels().items()]

    own: dict[str, Callable[[], Rows]] = {
        "components": components,
        "version": _version,
        "settings": settings,
        "scopes": log_scopes,
        "memory": _memory,
        "tasks": _tasks,
        "spans": _spans,
    }

    def topics() -> Mapping[str, Callable[[], Rows]]:
        return {**own, **{topic: rows for life in lives.values() for topic, rows in life.topics.items()}}

    def caller(request: Request) -> Caller:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        token = bearer or request.cookies.get(COOKIE, "")
        if not token:
            raise HTTPException(401, "an API token is needed: send it as 'Authorization: Bearer ...' or open /login")
        try:
            return verifier.verify(token)
        except TokenError as error:
            raise HTTPException(401, str(error)) from error

    @app.middleware("http")
    async def check_host(request: Request, call_next: Any) -> Response:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in LOCAL_HOSTS:
            return JSONResponse({"detail": f"Host {host!r} is not this machine; use localhost"}, 421)
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/login")
    async def login_page() -> HTMLResponse:
        return HTMLResponse(
            _page(
                process,
                "login",
                topics(),
                '<form method="post"><input name="token" type="password" placeholder="API token" size="60"><button>Open</button></form>',
            )
        )

    @app.post("/login")
    async def login(token: str = Form()) -> Response:
        try:
            verifier.verify(token.strip())
        except TokenError as error:
            return HTMLResponse(_page(process, "login", topics(), f"<p class='bad'>{html.escape(str(error))}</p>"), 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict")
        return response

    @app.get("/")
    async def home(request: Request) -> Response:
        if not request.cookies.get(COOKIE) and "authorization" not in request.headers:
            return RedirectResponse("/login", 303)
        caller(request)
        return HTMLResponse(_page(process, "components", topics(), _table(components())))

    @app.get("/{topic}")
    async def show(request: Request, topic: str) -> HTMLResponse:
        caller(request)
        body = _scope_forms(log_scopes()) if topic == "scopes" else _table(_rows(topics(), topic))
        return HTMLResponse(_page(process, topic, topics(), body))

    @app.get("/api/{topic}")
    async def show_json(request: Request, topic: str) -> Rows:
        caller(request)
        return _rows(topics(), topic)

    @app.post("/scopes")
    async def set_scope(request: Request, scope: str = Form(), level: str = Form()) -> Response:
        if not caller(request).has("admin"):
            raise HTTPException(403, "changing a log level takes the admin role")
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers['host']}":
            raise HTTPException(403, f"a page of {origin} may not change this process")
        try:
            scopes.set(scope, level)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return RedirectResponse("/scopes", 303)

    return app


def _rows(topics: Mapping[str, Callable[[], Rows]], topic: str) -> Rows:
    if topic not in topics:
        raise HTTPException(404, f"no topic {topic!r}; there are {', '.join(topics)}")
    return topics[topic]()


def _table(rows: Rows) -> str:
    if not rows:
        return "<p>Nothing yet.</p>"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(row.get(column, ''))}</td>" for column in columns) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _scope_forms(rows: Rows) -> str:
    lines = []
    for row in rows:
        options = "".join(f"<option{' selected' if row['level'] == level else ''}>{level}</option>" for level in LEVELS if level != "warn")
        scope = html.escape(row["scope"])
        lines.append(
            f'<tr><td>{scope}</td><td><form method="post" action="/scopes"><input type="hidden" name="scope" value="{scope}">'
            f'<select name="level" aria-label="level of {scope}">{options}</select> <button>Set</button></form></td></tr>'
        )
    return f"<table><thead><tr><th>scope</th><th>level</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"


STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:0;color:#1c2733;background:#f6f8fa}
header{background:#16324f;color:#fff;padding:.7rem 1.5rem;display:flex;gap:1.2rem;align-items:baseline;flex-wrap:wrap}
header b{font-size:1.1rem}header a{color:#cfe3f5;text-decoration:none}header a.here{color:#fff;border-bottom:2px solid #fff}
main{padding:1.2rem 1.5rem}table{border-collapse:collapse;background:#fff;box-shadow:0 1px 2px #0002}
th,td{text-align:left;padding:.35rem .8rem;border-bottom:1px solid #e3e8ee;vertical-align:top;overflow-wrap:anywhere}
th{background:#eef2f6;font-weight:600}form{margin:0}.bad{color:#b3261e}
"""


def _page(process: str, topic: str, topics: Mapping[str, Any], body: str) -> str:
    links = "".join(f'<a href="/{name}"{" class=here" if name == topic else ""}>{name}</a>' for name in topics)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(process)} · {html.escape(topic)}</title><style>{STYLE}</style>"
        f"<header><b>{html.escape(process)}</b>{links}</header><main>{body}</main></html>"
    )
