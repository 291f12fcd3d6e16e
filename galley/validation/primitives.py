# SPDX-License-Identifier: Apache-2.0
"""The small rules of which all others are made: names, hosts, addresses, ports, durations, labels, regexes.

Every rule is a generator of problems at a given place, so that callers write `yield from` and nothing stops at the first mistake.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVar

import re2

from common.config.duration import DurationError, seconds
from common.config.problem import Path, Problem, problem

T = TypeVar("T")

MAX_REGEX: Final = 1024
"""Longest regex that a user may write, in characters."""

MAX_PROGRAM: Final = 10_000
"""Largest program that RE2 may make of it. `.{1,1000}` makes 9,003 steps; more is no honest pattern, and compiling it holds Galley up."""

PROTOCOLS: Final = ("tcp", "udp", "grpc", "grpc-web", "http", "http2", "https", "tls", "mongo", "redis", "mysql")
HTTP_PROTOCOLS: Final = frozenset({"http", "http2", "grpc", "grpc-web"})
TLS_PROTOCOLS: Final = frozenset({"https", "tls"})

_LABEL: Final = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL + r"\Z")
_WILDCARD_LABEL: Final = re.compile(rf"(?:\*|(?:\*|\*-)?{_LABEL})\Z")
_LABEL_NAME: Final = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def each(items: Sequence[T], at: Path) -> Iterator[tuple[T, Path]]:
    """Items with their places."""
    for index, item in enumerate(items):
        yield item, (*at, index)


def as_number(text: str) -> int | None:
    """A text of digits as its number. None for anything else; `int` alone takes other scripts' digits, and fails for thousands of them."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def dns_label(text: str, at: Path) -> Iterator[Problem]:
    if len(text) > 63 or not _DNS_LABEL.match(text):
        yield problem(at, f"{text!r} is not a DNS label: at most 63 letters, digits and '-', beginning and ending with a letter or digit")


def fqdn(text: str, at: Path) -> Iterator[Problem]:
    labels = text.removesuffix(".").split(".")
    if not 1 <= len(text) <= 255:
        yield problem(at, f"{text!r} is not a domain name: it must have 1 to 255 characters")
    elif bad := [label for label in labels if len(label) > 63 or not _DNS_LABEL.match(label)]:
        yield problem(at, f"{text!r} is not a domain name: its part {bad[0]!r} is not a DNS label")
    elif labels[-1].isdigit():
        yield problem(at, f"{text!r} is not a domain name: its last part may not be a number")


def wildcard_domain(text: str, at: Path) -> Iterator[Problem]:
    """A domain name whose first part may be or begin with `*`."""
    first, dot, rest = text.partition(".")
    if not 1 <= len(text) <= 255:
        yield problem(at, f"{text!r} is not a domain name: it must have 1 to 255 characters")
    elif len(first) > 63 or not _WILDCARD_LABEL.match(first):
        yield problem(at, f"{text!r} is not a host: {first!r} must be '*' or a DNS label, which may begin with '*'")
    elif dot:
        yield from (msg_at(found, f"{text!r} is not a host: {found.message}") for found in fqdn(rest, at))


def msg_at(found: Problem, message: str) -> Problem:
    """The same problem in other words."""
    return Problem(path=found.path, message=message, expected=found.expected, found=found.found)


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def host_or_ip(text: str, at: Path) -> Iterator[Problem]:
    if not is_ip(text):
        yield from wildcard_domain(text, at)


def ipv4_subnet(text: str, at: Path) -> Iterator[Problem]:
    try:
        ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        yield problem(at, f"{text!r} is not an IPv4 address or subnet", expected="for example 10.1.0.0/16 or 10.1.2.3")


def ipv4(text: str, at: Path) -> Iterator[Problem]:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        yield problem(at, f"{text!r} is not an IPv4 address")


def ip_block(text: str, at: Path) -> Iterator[Problem]:
    """An address or a CIDR block, of either family."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield problem(at, f"{text!r} is not an IP address or block", expected="for example 10.1.0.0/16 or 10.1.2.3", found=text)


def unix_path(text: str, at: Path) -> Iterator[Problem]:
    """What follows `unix://`: an absolute path, or `@name` for an abstract socket."""
    path = text.removeprefix("unix://")
    if not path or (not path.startswith("@") and (not path.startswith("/") or path.endswith("/"))):
        yield problem(at, f"{text!r} is not a Unix socket; write unix:///absolute/path or unix://@name")


def port_number(number: int, at: Path) -> Iterator[Problem]:
    if not 1 <= number <= 65535:
        yield problem(at, f"port {number} is out of range", expected="1 to 65535", found=str(number))


def protocol(text: str, at: Path) -> Iterator[Problem]:
    if text.lower() not in PROTOCOLS:
        yield problem(at, f"protocol {text!r} is unknown; use one of {', '.join(name.upper() for name in PROTOCOLS)}", found=text)


def percent(value: float, at: Path) -> Iterator[Problem]:
    if not 0 <= value <= 100:
        yield problem(at, f"{value} is not a percentage", expected="0 to 100", found=str(value))


def fraction(value: float, at: Path) -> Iterator[Problem]:
    """A percentage that may be as small as one in a million."""
    if value != 0 and not 0.0001 <= value <= 100:
        yield problem(at, f"{value} is not a percentage", expected="0, or 0.0001 to 100", found=str(value))


def at_least(value: int, least: int, at: Path) -> Iterator[Problem]:
    if value < least:
        yield problem(at, f"{value} is too small", expected=f"{least} or more", found=str(value))


def duration(text: str | None, at: Path) -> Iterator[Problem]:
    """At least a millisecond, in whole milliseconds. None is absent, hence right."""
    if text is None:
        return
    try:
        length = seconds(text)
    except DurationError as error:
        yield problem(at, str(error), found=text)
        return
    milliseconds = length * 1000
    if milliseconds < 1:
        yield problem(at, f"duration {text} is shorter than 1ms; leave the field out to switch it off", found=text)
    elif abs(milliseconds - round(milliseconds)) > 1e-6:
        yield problem(at, f"duration {text} is finer than a millisecond", found=text)


def regex(pattern: str, at: Path) -> Iterator[Problem]:
    """RE2, as Envoy compiles it."""
    if len(pattern) > MAX_REGEX:
        yield problem(at, f"the regex has {len(pattern)} characters; at most {MAX_REGEX} are allowed")
        return
    reason = _regex_error(pattern)
    if reason:
        hint = "; to match everything write '.*'" if pattern == "*" else ""
        if "invalid perl operator" in reason or "invalid escape sequence" in reason:
            hint = "; Envoy's RE2 has no look-around and no back-references"
        yield problem(at, f"{pattern!r} is not a valid RE2 regex: {reason}{hint}", found=pattern)


@lru_cache(maxsize=4096)
def _regex_error(pattern: str) -> str:
    """Why RE2 does not take it; empty when it does."""
    try:
        size = re2.compile(pattern, _QUIET).programsize
    except re2.error as error:
        words = error.args[0] if error.args else "invalid"
        return words.decode() if isinstance(words, bytes) else str(words)
    return "pattern too large" if size > MAX_PROGRAM else ""


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False  # the reason goes to the user, not to stderr
    options.max_mem = MAX_PROGRAM * 96  # bytes; RE2 spends a sixth of it, in steps of 16 bytes, on the program
    return options


_QUIET: Final = _quiet()


def labels(values: Mapping[str, str], at: Path) -> Iterator[Problem]:
    for key, value in values.items():
        yield from label_key(key, (*at, key))
        if value and (len(value) > 63 or not _LABEL_NAME.match(value)):
            yield problem((*at, key), f"{value!r} is not a label value: at most 63 letters, digits, '-', '_' and '.'", found=value)


def label_key(key: str, at: Path) -> Iterator[Problem]:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or any(True for _ in fqdn(prefix, at))):
        yield problem(at, f"{key!r} is not a label key: {prefix!r} before the '/' is not a domain name")
    if len(name) > 63 or not _LABEL_NAME.match(name):
        yield problem(
            at, f"{key!r} is not a label key: at most 63 letters, digits, '-', '_' and '.', beginning and ending with one of the first"
        )


def export_to(values: Sequence[str], at: Path) -> Iterator[Problem]:
    if len(values) > 1:
        yield problem(at, "exportTo may have only one entry", expected="'.' (this namespace) or '*' (all)")
    for value, place in each(values, at):
        if value not in (".", "*"):
            yield problem(place, f"exportTo {value!r} is not supported", expected="'.' (this namespace) or '*' (all)", found=value)


def header_name(name: str, at: Path) -> Iterator[Problem]:
    if not name:
        yield problem(at, "a header name may not be empty")
    elif not _HEADER_NAME.match(name.removeprefix(":")):
        yield problem(at, f"{name!r} is not a header name", found=name)


def header_value(value: str, at: Path) -> Iterator[Problem]:
    if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in value):
        yield problem(at, "a header value may not hold control characters or line breaks")


def unique(values: Iterable[tuple[object, Path]], what: str) -> Iterator[Problem]:
    """Each value may appear once; `what` names it: "port name"."""
    seen: set[object] = set()
    for value, at in values:
        if value in seen:
            yield problem(at, f"{what} {value!r} is used twice", found=str(value))
        seen.add(value)
