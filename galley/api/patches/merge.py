# SPDX-License-Identifier: Apache-2.0
"""JSON Merge Patch (RFC 7396): null removes, objects merge, everything else replaces."""

from __future__ import annotations

from typing import Any

from galley.api.patches.failure import check_depth


def merge_patch(target: Any, patch: Any, depth: int = 0) -> Any:
    """The patched value; `target` is left as it was. Raises PatchError when the patch is nested too deeply."""
    check_depth(depth)
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value, depth + 1)
    return result
