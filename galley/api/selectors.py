# SPDX-License-Identifier: Apache-2.0
"""labelSelector and fieldSelector of list and watch."""

from __future__ import annotations

import re
from collections.abc import Callable

from common.config.resource import Metadata
from galley.errors import BadRequestError

Test = Callable[[Metadata], bool]

_LABEL = re.compile(
    r"\s*(?:(?P<not>!)\s*(?P<absent>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<set>in|notin)\s*\((?P<values>[\w.,\s-]*)\))?)\s*(?:,|$)"
)
_FIELDS: dict[str, Callable[[Metadata], str]] = {"metadata.name": lambda m: m.name, "metadata.namespace": lambda m: m.namespace}


def label_selector(text: str) -> Test:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k`. Raises BadRequestError at the first piece that is not of such a form."""
    tests: list[Test] = []
    position = 0
    while position < len(text):
        found = _LABEL.match(text, position)
        if found is None or found.end() == position:
            raise BadRequestError(f"labelSelector: cannot read {text[position:]!r}; write key=value, key!=value, key in (a,b), key or !key")
        tests.append(_label_test(found))
        position = found.end()
    return lambda metadata: all(test(metadata) for test in tests)


def _label_test(found: re.Match[str]) -> Test:
    if found["not"]:
        absent = found["absent"]
        return lambda metadata: absent not in metadata.labels
    key = found["key"]
    if found["set"]:
        values = {value.strip() for value in found["values"].split(",")}
        inside = found["set"] == "in"
        return lambda metadata: (metadata.labels.get(key) in values) is inside
    if not found["op"]:
        return lambda metadata: key in metadata.labels
    value, equal = found["value"], found["op"] != "!="
    return lambda metadata: (metadata.labels.get(key) == value) is equal


def field_selector(text: str) -> Test:
    """`metadata.name=x,metadata.namespace!=y`; other fields are refused, as Kubernetes does for custom resources."""
    tests: list[Test] = []
    for piece in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([\w.]+)\s*(==|=|!=)\s*([\w.-]*)\s*", piece)
        if found is None or found[1] not in _FIELDS:
            raise BadRequestError(f"fieldSelector: cannot use {piece!r}; fields are {' and '.join(_FIELDS)}, with = or !=")
        tests.append(_field_test(_FIELDS[found[1]], found[3], found[2] != "!="))
    return lambda metadata: all(test(metadata) for test in tests)


def _field_test(read: Callable[[Metadata], str], value: str, equal: bool) -> Test:
    return lambda metadata: (read(metadata) == value) is equal
