# SPDX-License-Identifier: Apache-2.0
"""DNS names, e-mail addresses and URIs: what is valid, and when two are equal. Equality may fail on a malformed value, as in Istio 1.4."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

import idna

from common.expression.errors import ExpressionError

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]+|\"(?:[^\"\\\r\n]|\\[^\r\n])*\"")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PORT = re.compile(r"(?::\d*)?", re.ASCII)


@lru_cache(maxsize=4096)
def valid_dns_name(name: str) -> str:
    """The Unicode form of a DNS name. Raises ExpressionError when a label or the length is not allowed."""
    bare = name.removesuffix(".")
    try:
        if bare.isascii() and "xn--" not in bare.lower():
            if len(bare) > 253 or not all(map(_LABEL.fullmatch, bare.split("."))):
                raise idna.IDNAError("only letters, digits and inner hyphens, labels of 1 to 63, at most 253 characters")
            return name
        return idna.decode(idna.encode(bare, strict=True, std3_rules=True), strict=True) + ("." if bare != name else "")
    except (idna.IDNAError, UnicodeError) as error:
        raise ExpressionError("eval", f"error converting '{name}' to dns name: {error}") from error


@lru_cache(maxsize=4096)
def _lookup_form(name: str) -> str:
    bare = name.removesuffix(".")
    if bare.isascii() and "xn--" not in bare.lower():
        return bare.lower()
    try:
        return idna.encode(bare, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ExpressionError("eval", f"error comparing dns names: '{name}': {error}") from error


def same_dns_name(left: str, right: str) -> bool:
    """Without regard to case, script form and one trailing dot."""
    return left == right or _lookup_form(left) == _lookup_form(right)


def _parts_of_email(address: str) -> tuple[str, str]:
    local, at, domain = address.rpartition("@")
    dots_wrong = not local.startswith('"') and (local.startswith(".") or local.endswith(".") or ".." in local)
    if not at or not domain or dots_wrong or not _LOCAL_PART.fullmatch(local):
        raise ExpressionError("eval", f"error converting '{address}' to e-mail: not of the form local@domain")
    return local, domain


def valid_email(address: str) -> str:
    """The address itself when it is RFC 5322 without a display name and with a valid domain."""
    valid_dns_name(_parts_of_email(address)[1])
    return address


def same_email(left: str, right: str) -> bool:
    """The local part exactly, the domain as DNS names compare."""
    (left_local, left_domain), (right_local, right_domain) = _parts_of_email(left), _parts_of_email(right)
    return left_local == right_local and same_dns_name(left_domain, right_domain)


def valid_uri(text: str) -> str:
    """The text itself when it is not empty and can be parsed."""
    if not text:
        raise ExpressionError("eval", "error converting string to uri: empty string")
    _split_uri(text)
    return text


def same_uri(left: str, right: str) -> bool:
    """Scheme without case; host of http(s) as DNS names compare, port as text, all else as written."""
    a, b = _split_uri(left), _split_uri(right)
    if a.scheme != b.scheme:
        return False
    if a.scheme not in ("http", "https"):
        return a == b
    (a_user, a_host, a_port), (b_user, b_host, b_port) = _authority(a), _authority(b)
    return (a_user, a_port, a.path, a.query, a.fragment) == (b_user, b_port, b.path, b.query, b.fragment) and same_dns_name(a_host, b_host)


def _authority(uri: SplitResult) -> tuple[str, str, str]:
    user, _, place = uri.netloc.rpartition("@")
    host, _, port = place.rpartition(":") if _has_port(place) else (place, "", "")
    return user, host, port


def _has_port(place: str) -> bool:
    return ":" in place.rpartition("]")[2]


@lru_cache(maxsize=4096)
def _split_uri(text: str) -> SplitResult:
    problem = None
    if _CONTROL.search(text):
        problem = "invalid control character"
    elif text.startswith(":"):
        problem = "missing protocol scheme"
    elif not _SCHEME.match(text) and ":" in re.split(r"[/?#]", text, maxsplit=1)[0]:
        problem = "first path segment cannot contain a colon"
    elif _BAD_ESCAPE.search(re.split(r"[?]", text, maxsplit=1)[0]):
        problem = "invalid percent escape"
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ExpressionError("eval", f"error converting '{text}' to uri: {error}") from error
    place = parts.netloc.rpartition("@")[2]
    if " " in parts.netloc:
        problem = "invalid character ' ' in host name"
    elif not _PORT.fullmatch(place[place.rfind("]") + 1 :] if place.startswith("[") else place[place.find(":") :] if ":" in place else ""):
        problem = "invalid port"
    if problem:
        raise ExpressionError("eval", f"error converting '{text}' to uri: {problem}")
    return parts
