# SPDX-License-Identifier: Apache-2.0
"""Errors of Pilot.

PilotError
└── Refusal            a proxy's stream is not served; becomes a gRPC status at the edge
    ├── NotReady         nothing to serve yet: UNAVAILABLE, Envoy tries again
    ├── Malformed        the node or a request cannot be read: INVALID_ARGUMENT
    ├── Unauthenticated  no usable client certificate: UNAUTHENTICATED
    └── Forbidden        the certificate is not that of the node it asks for: PERMISSION_DENIED
"""

from __future__ import annotations


class PilotError(Exception):
    """`code` is stable and meant for programs; the text is a sentence for people."""

    code = "PILOT"


class Refusal(PilotError):
    """Why a stream ends."""


class NotReady(Refusal):
    code = "NOT_READY"


class Malformed(Refusal):
    code = "MALFORMED"


class Unauthenticated(Refusal):
    code = "UNAUTHENTICATED"


class Forbidden(Refusal):
    code = "FORBIDDEN"
