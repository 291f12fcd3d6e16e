# SPDX-License-Identifier: Apache-2.0
"""Values as they stand in an attribute bag, and their texts.

| type | Python |                                   | type | Python |
| STRING, EMAIL_ADDRESS, URI, DNS_NAME | str       | TIMESTAMP | Timestamp: nanoseconds since the epoch |
| INT64 | int    DOUBLE | float    BOOL | bool      | DURATION | Duration: nanoseconds |
| IP_ADDRESS | bytes of 4 or 16 octets             | STRING_MAP | dict of str to str |

Durations and timestamps are integers of their own classes, because Go counts nanoseconds and Python's timedelta and datetime stop at
microseconds; comparing, hashing and adding them costs no more than for an int.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import TypeAlias

from common.expression.errors import ExpressionError
from common.expression.types import TEXTUAL, ValueType

NANOSECONDS = 1_000_000_000
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


class Duration(int):
    """A span of time in nanoseconds. `str()` is Go's text: `1h2m3s`, `5ms`, `0s`."""

    __slots__ = ()

    @classmethod
    def of_seconds(cls, seconds: float) -> Duration:
        return cls(round(seconds * NANOSECONDS))

    @property
    def seconds(self) -> float:
        return self / NANOSECONDS

    def __str__(self) -> str:
        return _go_text(int(self))

    def __repr__(self) -> str:
        return f"Duration({int(self)})"


class Timestamp(int):
    """An instant in nanoseconds since 1970 in UTC. `str()` is RFC 3339 with as many digits as needed."""

    __slots__ = ()

    @classmethod
    def of_seconds(cls, seconds: float) -> Timestamp:
        return cls(round(seconds * NANOSECONDS))

    @property
    def moment(self) -> datetime:
        """The instant as datetime, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self // 1000)

    def __str__(self) -> str:
        seconds, fraction = divmod(int(self), NANOSECONDS)
        text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
        return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"

    def __repr__(self) -> str:
        return f"Timestamp({int(self)})"


Value: TypeAlias = str | int | float | bool | bytes | Duration | Timestamp | Mapping[str, str]
"""What a bag holds; see the table above. Absence is the lack of the key, never None."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": NANOSECONDS, "m": 60 * NANOSECONDS, "h": 3600 * NANOSECONDS}
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_duration(text: str) -> Duration | None:
    """Read Go's duration text (`1.5h`, `-2ms`, `1h30m`, and a bare `0`); None if it is not one or does not fit 64 bits of nanoseconds."""
    if text in ("0", "+0", "-0"):
        return Duration(0)
    if len(text) > 256 or not _DURATION.fullmatch(text):
        return None
    total = sum(int(Decimal(amount) * _UNITS[unit]) for amount, unit in _PART.findall(text))
    if total > INT64_MAX:
        return None
    return Duration(-total if text.startswith("-") else total)


def parse_timestamp(text: str) -> Timestamp | None:
    """Read an RFC 3339 instant, keeping nanoseconds; None if it is not one."""
    found = _RFC3339.fullmatch(text)
    if not found:
        return None
    *numbers, fraction, zone = found.groups()
    offset = timedelta(0) if zone == "Z" else timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - offset
    except (ValueError, OverflowError):
        return None
    elapsed = moment - _EPOCH
    return Timestamp((elapsed.days * 86400 + elapsed.seconds) * NANOSECONDS + int((fraction or "0")[:9].ljust(9, "0")))


def text_of(value: Value) -> str:
    """A value as label or log text: numbers in decimal, addresses dotted, times in RFC 3339, durations as Go writes them, maps as `k=v&k=v`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return text_of_address(value)
    if isinstance(value, Mapping):
        return "&".join(f"{key}={value[key]}" for key in sorted(value))
    return str(value)


def text_of_address(address: bytes) -> str:
    """Dotted or colon form; an IPv4 address mapped into IPv6 is written as IPv4, as Go does. Odd lengths are written in hexadecimal."""
    if len(address) == 16 and address.startswith(_MAPPED):
        address = address[12:]
    return str(ip_address(address)) if len(address) in (4, 16) else "?" + address.hex()


_MAPPED = b"\0" * 10 + b"\xff\xff"


def mapped(address: bytes) -> bytes:
    """The 16-octet form of an address, in which IPv4 and IPv4-mapped IPv6 are equal."""
    return _MAPPED + address if len(address) == 4 else address


def fits(value: object, type_: ValueType) -> bool:
    """Whether a value has the Python class that `type_` asks for."""
    if type_ in TEXTUAL:
        return isinstance(value, str)
    if type_ is ValueType.STRING_MAP:
        return isinstance(value, Mapping)
    return type(value) is _CLASSES[type_]


def wrong_type(type_: ValueType, value: object) -> ExpressionError:
    """What reading an attribute fails with when its value does not fit."""
    return ExpressionError("eval", f"error converting value to {type_.name.lower()}: '{value}'")


_CLASSES: dict[ValueType, type] = {
    ValueType.INT64: int,
    ValueType.DOUBLE: float,
    ValueType.BOOL: bool,
    ValueType.TIMESTAMP: Timestamp,
    ValueType.IP_ADDRESS: bytes,
    ValueType.DURATION: Duration,
}


def _go_text(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < NANOSECONDS:
        unit, size = ("ns", 1) if rest < 1000 else ("µs", 1000) if rest < 1_000_000 else ("ms", 1_000_000)
        return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60 * NANOSECONDS)
    hours, minutes = divmod(minutes, 60)
    return sign + (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{_decimal(rest, NANOSECONDS)}s"


def _decimal(amount: int, size: int) -> str:
    whole, fraction = divmod(amount, size)
    digits = str(size + fraction)[1:].rstrip("0") if size > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)
