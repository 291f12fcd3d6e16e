# SPDX-License-Identifier: Apache-2.0
"""Full names `name.kind.namespace`, and how a rule's references become them (Istio 1.4's rules, with their one ambiguity)."""

from __future__ import annotations


def full_name(name: str, kind: str, namespace: str) -> str:
    """`kind` is `handler` or `instance`, or the name of one of the older kinds."""
    return f"{name}.{kind}.{namespace}"


def candidates(reference: str, kind: str, namespace: str) -> tuple[str, ...]:
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
            return (full_name(name, other, namespace), full_name(name, kind, other))
        case [_, _, _]:
            return (reference,)
    return ()
