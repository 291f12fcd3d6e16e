# SPDX-License-Identifier: Apache-2.0
"""meta.k8s.io Table: cells for people, with as much of the object behind each row as the client asks for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

import msgspec
from fastapi import Request

from common.config.registry import Kind
from common.config.resource import Resource
from galley.api.tables.columns import COLUMNS, NONE, Column, listed
from galley.errors import BadRequestError
from galley.store.model import Origin

Include = Literal["None", "Metadata", "Object"]

_JSON = msgspec.json.Encoder()
_VERSIONS: Final = ("v1", "v1beta1")


class TableForm(NamedTuple):
    """What the client can read."""

    version: str
    include: Include


class Item(NamedTuple):
    """One object on its way into a table: typed, as bytes, and what Galley knows beside it."""

    resource: Resource[Any]
    body: bytes
    origin: Origin | None = None
    findings: tuple[str, ...] | None = None
    """Codes of findings about it; None while it was not analysed."""


def wanted(request: Request) -> TableForm | None:
    """The table that this request prefers; None when it wants the objects. Raises BadRequestError for an unknown `includeObject`."""
    first, _, _ = request.headers.get("accept", "").partition(",")
    media_type, *parameters = (piece.strip() for piece in first.split(";"))
    asked = dict(parameter.partition("=")[::2] for parameter in parameters)
    if media_type != "application/json" or asked.get("as") != "Table" or asked.get("v", "v1") not in _VERSIONS:
        return None
    include = request.query_params.get("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise BadRequestError(f"includeObject is {include!r}; expected None, Metadata or Object")
    return TableForm(asked.get("v", "v1"), include)  # type: ignore[arg-type]  # one of the three, looked at above


def table(form: TableForm, kind: Kind, version: str, items: Iterable[Item], *, header: bool = True) -> bytes:
    """The table as JSON. Later events of one watch leave out the header."""
    columns = COLUMNS.get((kind.group, kind.name), ())
    now = datetime.datetime.now(datetime.UTC)
    document = {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": _definitions(columns) if header else [],
        "rows": [{"cells": _cells(columns, item, now), **_object(form, item)} for item in items],
    }
    return _JSON.encode(document)


def _definitions(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    return [
        _definition("Name", "Unique among the objects of this kind in the namespace.", format_="name"),
        *(_definition(column.name, column.description) for column in columns if not column.wide),
        _definition("Age", "How long ago it was created."),
        *(_definition(column.name, column.description, wide=True) for column in columns if column.wide),
        _definition("Findings", "What the analysis has against it.", wide=True),
        _definition("Source", "The file that it was applied from, when that is known.", wide=True),
    ]


def _definition(name: str, description: str, *, wide: bool = False, format_: str = "") -> dict[str, Any]:
    return {"name": name, "type": "string", "format": format_, "description": description, "priority": 1 if wide else 0}


def _cells(columns: tuple[Column, ...], item: Item, now: datetime.datetime) -> list[str]:
    findings = "<unknown>" if item.findings is None else listed(item.findings)
    source = str(item.origin) if item.origin is not None and item.origin.file else NONE
    spec, created = item.resource.spec, age(item.resource.metadata.creationTimestamp, now)
    narrow, wide = ([column.read(spec) for column in columns if column.wide is wide] for wide in (False, True))
    return [item.resource.name, *narrow, created, *wide, findings, source]


def _object(form: TableForm, item: Item) -> dict[str, Any]:
    match form.include:
        case "Object":
            return {"object": msgspec.Raw(item.body)}
        case "Metadata":
            partial = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": item.resource.metadata}
            return {"object": partial}
        case "None":
            return {}


def age(timestamp: str, now: datetime.datetime) -> str:
    """A span as kubectl writes it: exact where it is short, one unit where it is long."""
    try:
        seconds = max(0, int((now - datetime.datetime.fromisoformat(timestamp)).total_seconds()))
    except ValueError:
        return "<unknown>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 730 else _two(days // 365, "y", days % 365, "d")


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"
