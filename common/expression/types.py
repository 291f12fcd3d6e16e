# SPDX-License-Identifier: Apache-2.0
"""Value types of attributes and expressions, with the numbers of Istio's `policy/v1beta1` ValueType."""

from __future__ import annotations

from enum import IntEnum


class ValueType(IntEnum):
    """`name` is what manifests and error messages use. VALUE_TYPE_UNSPECIFIED stands for the type variable T in signatures."""

    VALUE_TYPE_UNSPECIFIED = 0
    STRING = 1
    INT64 = 2
    DOUBLE = 3
    BOOL = 4
    TIMESTAMP = 5
    IP_ADDRESS = 6
    EMAIL_ADDRESS = 7
    URI = 8
    DNS_NAME = 9
    DURATION = 10
    STRING_MAP = 11

    def __str__(self) -> str:
        return self.name


TEXTUAL = frozenset({ValueType.STRING, ValueType.EMAIL_ADDRESS, ValueType.URI, ValueType.DNS_NAME})
"""Types whose values are `str`."""
