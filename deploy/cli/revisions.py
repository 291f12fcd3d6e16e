# SPDX-License-Identifier: Apache-2.0
"""Past versions of objects, as `history`, `diff` and `rollback` fetch and name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from deploy.cli.connection import Connection
from deploy.cli.errors import CliError

if TYPE_CHECKING:
    from common.config.registry import Kind

Revision = Mapping[str, Any]
"""`revision`, `at`, `action` (create, update, delete), `resource`, `actor`, `source`, `traceparent`, and `object` as it was afterwards."""

ROLLBACK: Final = "/apis/fourmast.io/v1/rollback"
_REVISIONS: Final = "/apis/fourmast.io/v1/revisions"
_MOST: Final = 1000


def revisions_of(galley: Connection, kind: Kind | None, namespace: str | None, name: str | None, *, limit: int = _MOST) -> list[Revision]:
    """Newest first; None means any."""
    wanted = {"kind": kind.plural if kind else "", "namespace": namespace or "", "name": name or ""}
    if kind is not None and kind.cluster_scoped:
        wanted["namespace"] = ""
    found: list[Revision] = galley.get(_REVISIONS, limit=str(limit), **{key: value for key, value in wanted.items() if value})["items"]
    return found


def history_of(galley: Connection, kind: Kind, namespace: str, name: str) -> list[Revision]:
    """All revisions of one object, newest first. Raises CliError when there never was one."""
    found = revisions_of(galley, kind, namespace, name)
    if not found:
        raise CliError(f"{shown(kind, namespace, name)} has no history: there never was one")
    return found


def at_revision(history: Sequence[Revision], number: int) -> Revision | None:
    """The state of an object when `number` was the newest revision; None when it did not exist then."""
    event = next((each for each in history if each["revision"] <= number), None)
    if event is None and len(history) >= _MOST:
        raise CliError(f"revision {number} is older than the {_MOST} newest of this object; only these can be shown")
    return event if event is not None and event["action"] != "delete" else None


def before_last(history: Sequence[Revision]) -> int:
    """The revision to go back to in order to undo the last change; 0 when that was the creation."""
    return int(history[1]["revision"]) if len(history) > 1 else 0


def shown(kind: Kind, namespace: str, name: str) -> str:
    return f"{kind.name} {name if kind.cluster_scoped else f'{namespace}/{name}'}"
