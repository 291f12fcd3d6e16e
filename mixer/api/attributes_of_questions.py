# SPDX-License-Identifier: Apache-2.0
"""The bag of a fast Check: what the filter sent, completed by what Mixer itself knows of both ends.

Whatever is added here must depend only on attributes that `common.checkprotocol.attributes.shape_of` reduces it to; otherwise a cached
answer would be given to a request that it was not made for.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl

from common.checkprotocol.attributes import FILTER_ATTRIBUTES
from common.checkprotocol.message import Question
from common.expression.values import Timestamp
from common.identity.spiffe import SpiffeId
from mixer.api.attributes_of_peers import Peer, PeerAttributes

MAX_QUERY_FIELDS = 256
_SPIFFE = "spiffe://"


def bag_of(question: Question, reporter: SpiffeId, peers: PeerAttributes) -> dict[str, Any]:
    """Attributes of the request. `reporter` is the identity in the asking proxy's certificate; no attribute in the body can change it."""
    sent = question.attributes
    own = Peer(str(reporter), sent.get("destination.ip"))
    if sent.get("context.reporter.kind") == "outbound":
        bag = peers.of("source", own._replace(address=None))
    else:
        principal = sent.get("source.principal")
        bag = peers.of("source", Peer(_SPIFFE + principal if principal else "", sent.get("source.ip"), sent.get("source.uid", "")))
        bag |= peers.of("destination", own)
    for name, value in sent.items():
        if name in _TAKEN:
            bag[name] = value
    headers = sent["request.headers"]
    for name, header in _FROM_HEADERS:
        if header in headers:
            bag[name] = headers[header]
    path = bag.get("request.path", "")
    if "?" in path:
        bag["request.query_params"] = dict(parse_qsl(path.partition("?")[2], keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    bag["request.time"] = Timestamp(time.time_ns())
    bag["context.reporter.uid"] = str(reporter)
    return bag


_FROM_HEADERS = (("request.useragent", "user-agent"), ("request.referer", "referer"))
_TAKEN = FILTER_ATTRIBUTES.keys() - {"source.principal", "source.uid"}
"""What a body may set. Identities come from certificates and the index."""
