# SPDX-License-Identifier: Apache-2.0
"""Configuration files of a mesh file, given to Galley in one piece."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.config.yaml_reading import Document, read_documents
from deploy.local.clients import Galley


class ConfigurationRefused(Exception):
    """Configuration was not applied; each line of the message says where and why."""


async def apply(galley: Galley, files: Iterable[Path]) -> None:
    """Apply every document of the files, all or nothing. Raises ConfigurationRefused."""
    items: list[dict[str, Any]] = []
    documents: list[Document] = []
    problems: list[str] = []
    for path in files:
        for document in _documents(path):
            problems += [f"{path}:{problem.line or 1}: {problem.message}" for problem in document.problems]
            start = document.position("")
            source = {"file": str(path), "line": start.line if start else 1}
            items.append({"document": document.value, "source": source})
            documents.append(document)
    if problems:
        raise ConfigurationRefused("\n".join(problems))
    answer = await galley.batch(items)
    if answer.status_code != 200:
        raise ConfigurationRefused("\n".join(_reasons(answer.json(), items, documents)) or answer.text)


def _documents(path: Path) -> tuple[Document, ...]:
    try:
        return read_documents(path.read_bytes())
    except OSError as error:
        raise ConfigurationRefused(f"{path}: {error.strerror}") from error


def _reasons(answer: dict[str, Any], items: list[dict[str, Any]], documents: list[Document]) -> list[str]:
    rows = answer.get("items")
    if rows is None:
        return [str(answer.get("message", answer))]
    reasons = []
    for row, item, document in zip(rows, items, documents, strict=True):
        for problem in row["problems"]:
            place = document.position(problem["path"])
            where = f"{item['source']['file']}:{place.line if place else item['source']['line']}"
            reasons.append(f"{where}: {row['resource']}: {problem['path']}: {problem['message']}")
    return reasons
