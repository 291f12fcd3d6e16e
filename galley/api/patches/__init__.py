# SPDX-License-Identifier: Apache-2.0
"""The three forms of a patch that kubectl sends, applied to plain values. No I/O, nothing about the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from common.config.registry import Kind
from galley.api.patches.failure import PatchError
from galley.api.patches.json_patch import json_patch
from galley.api.patches.merge import merge_patch
from galley.api.patches.strategic import MERGE_KEYS, strategic_merge_patch

_APPLY: Final[Mapping[str, Callable[[Kind, Any, Any], Any]]] = {
    "application/merge-patch+json": lambda _, target, patch: merge_patch(target, patch),
    "application/strategic-merge-patch+json": strategic_merge_patch,
    "application/json-patch+json": lambda _, target, patch: json_patch(target, patch),
    "application/json": lambda _, target, patch: merge_patch(target, patch),
}

PATCH_TYPES: Final = tuple(_APPLY)
"""Media types of patches."""


def apply_patch(media_type: str, kind: Kind, target: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The patched document; `target` stays as it was. `media_type` is one of PATCH_TYPES. Raises PatchError."""
    patched = _APPLY[media_type](kind, target, patch)
    if not isinstance(patched, dict):
        raise PatchError("the patch leaves no object")
    return patched


__all__ = ["MERGE_KEYS", "PATCH_TYPES", "PatchError", "apply_patch"]
