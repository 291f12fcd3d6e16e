# SPDX-License-Identifier: Apache-2.0
"""Full names `name.kind.namespace`, and how a rule's references become them (Istio 1.4's rules, with their one ambiguity)."""

from __future__ import annotations

from typing import Literal

ReferencedKind = Literal["handler", "instance"]


def full_name(name: str, kind: ReferencedKind, namespace: str) -> str:
    return f"{name}.{kind}.{namespace}"


def candidates(reference: str, kind: ReferencedKind, namespace: str) -> tuple[str, ...]:
    """Full names that a reference in a rule of `namespace` may mean, in the order in which they are tried.

    No dot: in the rule's own namespace. One dot: `name.kind` there, then `name.namespace`. Two dots: a full name. More: nothing.
    """
    parts = reference.split(".")
    if not all(parts):
        return ()
    match parts:
        case [name]:
            return (full_name(name, kind, namespace),)
        case [name, other]:
            own = (f"{name}.{other}.{namespace}",) if other == kind else ()
            return (*own, full_name(name, kind, other))
        case [_, _, _]:
            return (reference,)
    return ()
