# SPDX-License-Identifier: Apache-2.0
"""listchecker (`list`): a value must be on a list, or must not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from common.config.duration import DurationError, seconds
from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import ListCheckerParams
from common.expression import ExpressionError
from common.expression.functions import compile_pattern
from common.expression.values import text_of
from mixer.adapters.contract import Adapter, Environment, HandlerSpec, Verdict, decode_params
from mixer.dispatch.result import Code
from mixer.errors import HandlerError
from mixer.templates.shape import InstanceShape

Contains = Callable[[str], bool]
"""Whether a value is on the list. Raises ValueError for a value that cannot be of the list's type."""


class ListChecker:
    def __init__(self, contains: Contains, params: ListCheckerParams, caching_interval: float) -> None:
        self._contains = contains
        self._blacklist = params.blacklist
        self._limits = (caching_interval, params.cachingUseCount)

    def check(self, instance: InstanceShape, row: tuple[Any, ...]) -> Verdict:
        value = text_of(row[0])
        try:
            found = self._contains(value)
        except ValueError as error:
            return Verdict(Code.INVALID_ARGUMENT, str(error), *self._limits)
        if found == self._blacklist:
            return Verdict(Code.PERMISSION_DENIED, f"{value} is {'blacklisted' if found else 'not whitelisted'}", *self._limits)
        return Verdict(Code.OK, "", *self._limits)

    async def close(self) -> None:
        return


def _strings(entries: Sequence[str]) -> Contains:
    return frozenset(entries).__contains__


def _caseless(entries: Sequence[str]) -> Contains:
    known = frozenset(entry.casefold() for entry in entries)
    return lambda value: value.casefold() in known


def _addresses(entries: Sequence[str]) -> Contains:
    networks = [_network(entry) for entry in entries]

    def contains(value: str) -> bool:
        try:
            address = ip_address(value)
        except ValueError as error:
            raise ValueError(f"{value} is not a valid IP address") from error
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in networks)

    return contains


def _network(entry: str) -> IPv4Network | IPv6Network:
    return ip_network(entry.strip(), strict=False)


def _patterns(entries: Sequence[str]) -> Contains:
    patterns = [compile_pattern(entry) for entry in entries]
    return lambda value: any(pattern.search(value) is not None for pattern in patterns)


_TYPES: dict[str, Callable[[Sequence[str]], Contains]] = {
    "STRINGS": _strings,
    "CASE_INSENSITIVE_STRINGS": _caseless,
    "IP_ADDRESSES": _addresses,
    "REGEX": _patterns,
}


def build(spec: HandlerSpec, environment: Environment) -> ListChecker:
    params = decode_params(spec, ListCheckerParams)
    if params.providerUrl:
        raise HandlerError("lists from a URL are not there yet; write the entries in overrides", "params.providerUrl")
    try:
        caching_interval = seconds(params.cachingInterval)
    except DurationError as error:
        raise HandlerError(str(error), "params.cachingInterval") from error
    if caching_interval < 0 or params.cachingUseCount < 0:
        raise HandlerError("must not be negative", "params.cachingInterval" if caching_interval < 0 else "params.cachingUseCount")
    try:
        contains = _TYPES[params.entryType](params.overrides)
    except (ValueError, ExpressionError) as error:
        raise HandlerError(f"an entry is not of type {params.entryType}: {error}", "params.overrides") from error
    return ListChecker(contains, params, caching_interval)


LISTCHECKER = Adapter(ADAPTERS["listchecker"], build)
