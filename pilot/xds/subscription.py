# SPDX-License-Identifier: Apache-2.0
"""One type on one stream: what the proxy asked for, what it was sent, and what it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.xds.frames import Framed, Part
from pilot.xds.nack import Isolation
from pilot.xds.names import EMPTY
from pilot.xds.queue import Gate
from pilot.xds.views import View

ORDER = (TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST)
"""Make before break: what is referred to goes before what refers to it."""
WILDCARD = frozenset({TYPE_CLUSTER, TYPE_LISTENER, TYPE_VIRTUAL_HOST})
"""Types of which a client may ask for everything. Of virtual hosts that is everything in the route configurations that it subscribed to."""
REMOVED_AT_ONCE = frozenset({TYPE_LISTENER, TYPE_VIRTUAL_HOST})
"""Types that nothing else at the client refers to, so that what is gone can be called removed with the next push."""


class SyncState(StrEnum):
    """As `istioctl proxy-status` says it; REJECTED is ours (1.4 shows such a proxy as STALE for ever)."""

    NOT_SENT = "NOT SENT"
    SYNCED = "SYNCED"
    STALE = "STALE"
    REJECTED = "REJECTED"


class Sent(NamedTuple):
    """A response that has no answer yet."""

    nonce: str
    parts: tuple[Part, ...]
    """What was new in it."""
    suspects: tuple[Part, ...]
    """What may be at fault if it is refused: in state-of-the-world all of it that the proxy has not accepted before."""
    removed: tuple[str, ...]
    view: View
    """What the proxy has once it accepts."""
    epoch: int
    at: float


class Subscription:
    """The state of one type. `view` is what was sent last, `target` what should be there (None until it is looked up again)."""

    __slots__ = (
        "acked_epoch",
        "acked_view",
        "asked",
        "error",
        "forgotten",
        "gate",
        "ghosts",
        "known",
        "names",
        "nonce_acked",
        "nonce_sent",
        "owed",
        "resend",
        "routes",
        "sent_at",
        "target",
        "trouble",
        "type_url",
        "view",
        "waiting",
    )

    def __init__(self, type_url: str, names: frozenset[str] | None, interval: float) -> None:
        self.type_url = type_url
        self.names = names
        """None is a wildcard."""
        self.view: View | None = None
        self.target: View | None = None
        self.known: Mapping[str, str] | None = None
        """A reconnecting client's own account of what it holds: name -> version. The base of the first response."""
        self.owed = True
        """A response is due even if there is nothing to say."""
        self.asked = EMPTY
        """Names that the client asked for again: sent whether changed or not."""
        self.resend = EMPTY
        """Names to send unasked whether changed or not: endpoints after their cluster."""
        self.routes = EMPTY
        """Virtual hosts: the route configurations that the client asked for (again). Envoy does not ask for their hosts: all are sent."""
        self.forgotten = EMPTY
        """Those of `routes` of which no hosts need be called removed before they are sent again."""
        self.ghosts: dict[str, Framed | None] = {}
        """Clusters: gone from the target but still at the client, because something there may refer to them, in the form that it has
        (None: not known). Endpoints: of such clusters, in the form that was sent last."""
        self.trouble: Isolation | None = None
        self.waiting: dict[str, Sent] = {}
        self.nonce_sent = ""
        self.nonce_acked = ""
        self.acked_epoch = 0
        self.acked_view: View | None = None
        self.error = ""
        self.sent_at = 0.0
        self.gate = Gate(interval)

    @property
    def is_wildcard(self) -> bool:
        return self.names is None

    @property
    def settled(self) -> bool:
        """Everything that was sent has been answered, nothing more is due and nothing is refused."""
        return (
            self.target is not None
            and self.view is self.target
            and not (self.waiting or self.trouble or self.owed or self.asked or self.resend or self.routes)
        )

    @property
    def at_rest(self) -> bool:
        """Like `settled`, but a resource that is held back, because the proxy refuses it, is no work in progress."""
        if self.target is None or self.view is not self.target or self.waiting or self.owed or self.asked or self.resend or self.routes:
            return False
        return self.trouble is None or not self.trouble.is_trying

    def answered(self, nonce: str) -> Sent | None:
        """Take the record of a response. Those before it are answered too: a client may merge acknowledgements."""
        if nonce not in self.waiting:
            return None
        for earlier in tuple(self.waiting):
            sent = self.waiting.pop(earlier)
            if earlier == nonce:
                return sent
        return None

    @property
    def state(self) -> SyncState:
        if not self.nonce_sent:
            return SyncState.NOT_SENT
        if self.trouble is not None and self.trouble.held:
            return SyncState.REJECTED
        return SyncState.STALE if self.waiting else SyncState.SYNCED
