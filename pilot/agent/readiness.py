# SPDX-License-Identifier: Apache-2.0
"""When a proxy may get traffic: Istio 1.4's rule.

LIVE alone is not enough, because an Envoy that gave up waiting for its control plane is LIVE too, with nothing configured.
"""

from __future__ import annotations

from collections.abc import Mapping

READY_STATS = "^(cluster_manager.cds|listener_manager.lds).update_(success|rejected)$"
"""The filter for `Admin.counters`."""

_SUBSCRIPTIONS = {"clusters": "cluster_manager.cds", "listeners": "listener_manager.lds"}


class Readiness:
    """Having been configured once is remembered; being LIVE is asked each time."""

    def __init__(self) -> None:
        self._configured = False

    @property
    def configured(self) -> bool:
        return self._configured

    def restarted(self) -> None:
        """A new Envoy knows nothing yet."""
        self._configured = False

    def problem(self, state: str, counters: Mapping[str, int]) -> str | None:
        """Why the proxy is not ready; None when it is. `counters` may be empty once it has been configured."""
        if not self._configured:
            missing = [
                what
                for what, prefix in _SUBSCRIPTIONS.items()
                if counters.get(f"{prefix}.update_success", 0) + counters.get(f"{prefix}.update_rejected", 0) == 0
            ]
            if missing:
                return f"Envoy has no {' and no '.join(missing)} from Pilot yet"
            self._configured = True
        return None if state == "LIVE" else f"Envoy is {state}"
