# SPDX-License-Identifier: Apache-2.0
"""The base of every typed piece of configuration, and the small values that many kinds share."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import msgspec

Duration: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "duration"})]
"""A length of time as text: `7s`, `0.5s`. `common.config.duration.seconds` reads it."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen, typed piece of configuration whose fields have Istio's camelCase names.

    Absent message fields are None, absent lists and maps are empty, absent scalars have protobuf's (or Istio's) default value.
    """

    ONEOFS: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which at most one may be set. The JSON Schema and the validators both read this."""
    NULL_IS_EMPTY: ClassVar[tuple[str, ...]] = ()
    """Fields for which a bare `name:` in YAML means the empty message and not absence."""


class StringMatch(Message, frozen=True, kw_only=True):
    """How a string is compared. With none of the three set it means *present*. Regexes are RE2 and match the full string."""

    ONEOFS: ClassVar = (("exact", "prefix", "regex"),)

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class PortSelector(Message, frozen=True, kw_only=True):
    """A port of a service, by number."""

    number: int


class NamedPortSelector(Message, frozen=True, kw_only=True):
    """A port of a service, by number or by name (authentication policies)."""

    ONEOFS: ClassVar = (("number", "name"),)

    number: int | None = None
    name: str | None = None


class Percent(Message, frozen=True, kw_only=True):
    """A share between 0.0 and 100.0."""

    value: float = 0.0


class WorkloadSelector(Message, frozen=True, kw_only=True):
    """Workloads that carry all of these labels."""

    labels: dict[str, str] = {}


class Port(Message, frozen=True, kw_only=True):
    """A port of a gateway, an external service or a sidecar listener. `protocol` is one of Istio's names, in any case."""

    number: int = 0
    protocol: str = ""
    name: str = ""
