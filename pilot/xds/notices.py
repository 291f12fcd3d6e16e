# SPDX-License-Identifier: Apache-2.0
"""What a conversation has to tell besides its responses: who took what, who refuses what, and when everything has arrived."""

from __future__ import annotations

from typing import NamedTuple

from common.config.resource import ResourceKey
from pilot.xds.frames import Part


class Acked(NamedTuple):
    """The proxy accepted these parts of a response."""

    type_url: str
    nonce: str
    parts: tuple[Part, ...]
    epoch: int
    seconds: float
    """From sending to the answer."""


class Nacked(NamedTuple):
    """The proxy refused a response; which resource is at fault is not known yet unless a `Refused` follows."""

    type_url: str
    nonce: str
    message: str


class Refused(NamedTuple):
    """The proxy refuses exactly this resource. It is held back until it changes."""

    type_url: str
    name: str
    version: str
    sources: tuple[ResourceKey, ...]
    message: str
    since: int = 0
    """See `Refusal.since`."""


class Expired(NamedTuple):
    """An answer to something that was never sent, or was answered before."""

    type_url: str
    nonce: str


class Converged(NamedTuple):
    """The proxy has everything of this epoch but what it refuses."""

    epoch: int


Notice = Acked | Nacked | Refused | Expired | Converged
