# SPDX-License-Identifier: Apache-2.0
"""Label selection. An empty selector selects everything (callers that mean *nothing* by it check before)."""

from __future__ import annotations

from collections.abc import Mapping

LabelSet = tuple[tuple[str, str], ...]
"""Labels as a sorted, hashable value, for keys."""


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """True when `labels` has every pair of `selector`."""
    return selector.items() <= labels.items()


def label_set(labels: Mapping[str, str]) -> LabelSet:
    return tuple(sorted(labels.items()))
