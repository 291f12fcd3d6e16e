# SPDX-License-Identifier: Apache-2.0
"""Whether a piece of Envoy's JSON is what Envoy 1.40 can read, told without an Envoy: by its own protobuf types.

Types are imported when they are first named; all of them would cost seconds and a hundred megabytes.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pool, json_format, message, message_factory

from common.config.problem import Path, Problem, problem

_PREFIX: Final = "type.googleapis.com/"
_OLD: Final = re.compile(r"envoy\.(?:[a-z0-9_]+\.)*v[12][a-z0-9]*\.")
"""A package of version 1 or 2 of Envoy's API."""
_WELL_KNOWN: Final = ("any", "duration", "empty", "struct", "timestamp", "wrappers")
_PACKAGE: Final = re.compile(r"(?:envoy|xds|udpa)(?:\.[a-z][a-z0-9_]*)+\Z")


@cache
def message_type(name: str) -> type[message.Message] | None:
    """The Python class of a message of Envoy's API, or None when Envoy 1.40 has no such message."""
    package = name.rpartition(".")[0]
    while package and not package.rpartition(".")[2].islower():  # the message is nested in another one
        package = package.rpartition(".")[0]
    if package == "google.protobuf":
        for module in _WELL_KNOWN:
            importlib.import_module(f"google.protobuf.{module}_pb2")
    elif _PACKAGE.match(package):
        _import_all(package)
    try:
        return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    except KeyError:
        return None


@cache
def _import_all(package: str) -> None:
    try:
        folder = importlib.import_module(package)
    except ImportError:
        return
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")


def envoy_json(value: dict[str, Any], type_name: str, at: Path) -> Iterator[Problem]:
    """Problems of `value` as JSON of that message: wrong `@type`s inside it, else what the message itself does not accept."""
    typed = list(_typed_messages(value, at))
    if typed:
        yield from typed
        return
    wanted = message_type(type_name)
    assert wanted is not None, type_name
    try:
        json_format.ParseDict(value, wanted())
    except (json_format.ParseError, TypeError, ValueError) as error:
        short = type_name.rpartition(".")[2]
        yield problem(at, f"Envoy 1.40 cannot read this as a {short}: {_sentence(error)}{_hint(str(error))}")


def _typed_messages(value: Any, at: Path) -> Iterator[Problem]:
    """Every `@type` in it must name a message that Envoy has."""
    if isinstance(value, Mapping):
        url = value.get("@type")
        if url is not None:
            yield from _type_url(url, (*at, "@type"))
        for name, item in value.items():
            yield from _typed_messages(item, (*at, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _typed_messages(item, (*at, index))


def _type_url(url: Any, at: Path) -> Iterator[Problem]:
    if not isinstance(url, str) or not url.startswith(_PREFIX):
        yield problem(at, f"{url!r} is not a type; write {_PREFIX}envoy...", found=str(url))
        return
    name = url.removeprefix(_PREFIX)
    if _OLD.match(name):
        yield problem(at, f"{name} is a type of an API that Envoy 1.40 does not have any more; use its v3 successor", found=url)
    elif message_type(name) is None:
        yield problem(at, f"Envoy 1.40 has no type {name}", found=url)


def _sentence(error: Exception) -> str:
    """The innermost reason, without the names of Python that surround it."""
    text = str(error)
    text = re.sub(r"Failed to parse (\w+) field: ", "", text)
    text = re.sub(r"Message type \"([\w.]+)\" has no field named \"([^\"]+)\"( at \"([^\"]*)\")?", _no_field, text)
    return re.sub(r"\.?\s*Available Fields\(except extensions\): .*", "", text.replace("\n", " ")).rstrip(". ")


def _no_field(match: re.Match[str]) -> str:
    where = f" (at {match[4]})" if match[4] else ""
    return f"{match[1].rpartition('.')[2]} has no field {match[2]!r}{where}"


def _hint(text: str) -> str:
    if '"config"' in text or '"hosts"' in text or '"tlsContext"' in text or '"tls_context"' in text:
        return "; this is a field of Envoy's v2 API: v3 has typed_config with @type, load_assignment and transport_socket instead"
    return ""
