# SPDX-License-Identifier: Apache-2.0
"""The quick way from YAML to values, for documents that are as plain as nearly all are; it remembers no positions.

Ten thousand files at a start are read for their values, and positions are wanted only of the few that break a rule. Whatever is not plain
here (tags, anchors, merges, duplicate keys, numbers that JSON cannot hold, anything malformed) is left to the reader that can explain it,
so the two never have different opinions: this one has the same values or none.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import yaml

from common.config.yaml_scalars import NOT_REPRESENTABLE, plain_value

_NO_KEY: Final = object()


class PlainDocument(NamedTuple):
    """A document's value, and where it begins; both count from 1."""

    value: Any
    line: int
    column: int


def plain_documents(text: str, *, max_depth: int) -> list[PlainDocument] | None:
    """All documents that are not empty, or None when any of them is not plain."""
    try:
        return _read(yaml.CSafeLoader(text).get_event, max_depth)
    except yaml.YAMLError:
        return None


def _read(next_event: Any, max_depth: int) -> list[PlainDocument] | None:
    """One loop over the events, long and flat because it runs a hundred times for each document."""
    found: list[PlainDocument] = []
    stack: list[tuple[Any, Any]] = []  # what is open around `holder`, and the key under which it will go
    holder: Any = None  # the mapping or list that is being filled
    key: Any = _NO_KEY
    root: Any = None
    line = column = 0
    while True:
        event = next_event()
        type_ = type(event)
        if type_ is yaml.ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                return None
            value = event.value
            if type(holder) is dict and key is _NO_KEY:
                if value in holder or value == "<<":
                    return None
                key = value
                continue
            if not event.style:
                value = plain_value(value)
                if value is NOT_REPRESENTABLE:
                    return None
        elif type_ is yaml.MappingStartEvent or type_ is yaml.SequenceStartEvent:
            if event.anchor is not None or event.tag is not None or len(stack) >= max_depth:
                return None
            if type(holder) is dict and key is _NO_KEY:
                return None
            if not stack:
                line, column = event.start_mark.line + 1, event.start_mark.column + 1
            stack.append((holder, key))
            holder, key = ({} if type_ is yaml.MappingStartEvent else []), _NO_KEY
            continue
        elif type_ is yaml.MappingEndEvent or type_ is yaml.SequenceEndEvent:
            value = holder
            holder, key = stack.pop()
        elif type_ is yaml.DocumentEndEvent:
            if root is not None:
                found.append(PlainDocument(root, line, column))
            continue
        elif type_ is yaml.DocumentStartEvent:
            root = None
            continue
        elif type_ is yaml.StreamStartEvent:
            continue
        elif type_ is yaml.StreamEndEvent:
            return found
        else:
            return None
        if type(holder) is dict:
            holder[key] = value
            key = _NO_KEY
        elif holder is None:
            root = value
            if type_ is yaml.ScalarEvent:
                line, column = event.start_mark.line + 1, event.start_mark.column + 1
        else:
            holder.append(value)
