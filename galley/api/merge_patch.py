# SPDX-License-Identifier: Apache-2.0
"""JSON Merge Patch (RFC 7396): null removes, objects merge, everything else replaces."""

from __future__ import annotations

from typing import Any

DEEPEST = 64


def merge_patch(target: Any, patch: Any, depth: int = 0) -> Any:
    """The patched value; `target` is left as it was. Raises ValueError when the patch is nested deeper than 64 levels."""
    if depth > DEEPEST:
        raise ValueError(f"the patch is nested deeper than {DEEPEST} levels")
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value, depth + 1)
    return result
