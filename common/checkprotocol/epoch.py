# SPDX-License-Identifier: Apache-2.0
"""The policy epoch: a name for one state of the policy configuration, computed alike by Pilot and Mixer.

Pilot puts it into routes, Envoy into its questions and cache keys, and Mixer compares it with its own. An answer from other
configuration than the one that the route belongs to is given, but never cached, so a change of policy takes effect with the route
update and no stale answer survives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from common.config.mixer_builtin.legacy import LEGACY_COLLECTIONS

POLICY_COLLECTIONS: Final = (
    "istio/policy/v1beta1/attributemanifests",
    "istio/policy/v1beta1/handlers",
    "istio/policy/v1beta1/instances",
    "istio/policy/v1beta1/rules",
    "istio/config/v1alpha2/adapters",
    "istio/config/v1alpha2/templates",
    *LEGACY_COLLECTIONS,
)
"""What decides an answer. Bindings of quotas are not among these: they stand in the routes themselves."""


def policy_epoch(resources: Iterable[tuple[str, str, str]]) -> str:
    """`resources` are (collection, MCP name, resourceVersion) of everything in `POLICY_COLLECTIONS`, in any order."""
    digest = hashlib.blake2s(digest_size=8)
    for entry in sorted(resources):
        for part in entry:
            text = part.encode()
            digest.update(b"%d:%b" % (len(text), text))
    return digest.hexdigest()
