# SPDX-License-Identifier: Apache-2.0
"""What analysis finds: one message about one resource, under Istio's code and level."""

from __future__ import annotations

from typing import Any

import msgspec

from common.config.problem import Path, render_path
from common.config.resource import Resource, ResourceKey
from galley.analysis.codes import Code, Level, Rule


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`resource` is None when the finding is about the mesh as a whole; `path` is the field, empty when it is about all of it."""

    code: Code
    name: str
    level: Level
    resource: ResourceKey | None
    path: str
    message: str

    def __str__(self) -> str:
        """Istio's form: `Error [IST0101] (VirtualService default/reviews) text`."""
        about = f" ({self.resource})" if self.resource is not None else ""
        return f"{self.level} [{self.code}]{about} {self.message}"


def finding(rule: Rule, resource: Resource[Any] | None, path: Path, message: str) -> Finding:
    """A finding of this rule at a place that is given in steps."""
    key = resource.key if resource is not None else None
    return Finding(code=rule.code, name=rule.name, level=rule.level, resource=key, path=render_path(path), message=message)


def listed(names: Any) -> str:
    """`a, b`: several names or numbers in one message, sorted, each once."""
    return ", ".join(map(str, sorted(set(names))))


def labels_text(labels: dict[str, str]) -> str:
    """`app=reviews,version=v1`, as selectors are written."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
