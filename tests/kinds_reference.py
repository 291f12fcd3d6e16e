# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/kinds from the kinds themselves, and from the mistakes that the rules are tested with.

`python -m tests.kinds_reference` writes the pages; a test says when they are no longer what this would write.
"""

from __future__ import annotations

import ast
import inspect as python_inspect
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from common.config import Kind, registry
from common.config.hygiene import MAX_DEPTH
from common.config.kinds.legacy_mixer import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from common.config.kinds.message import Message
from common.config.problem import MOST
from common.config.yaml_reading import MAX_BYTES, read_documents
from galley.validation.enforcement import NEVER_READ, NOT_ENFORCED, PARTLY_ENFORCED
from galley.validation.mixer import MAX_EXPRESSION
from galley.validation.primitives import MAX_PROGRAM, MAX_REGEX

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "reference" / "kinds"
MISTAKES: Final = ROOT / "tests" / "unit" / "galley" / "validation" / "fixtures"
LEGACY: Final = frozenset(kind.name for kind in (*LEGACY_ADAPTERS.values(), *LEGACY_TEMPLATES.values()))
COMMON_MISTAKES: Final = ("metadata", "structure", "reading")

GENERATED: Final = "<!-- Written by `python -m tests.kinds_reference`. Change the kinds, not this page. -->"

RULES_FOR_ALL: Final = f"""
## What holds for all of them

- `apiVersion`, `kind`, `metadata`, the typed part (usually `spec`) and `status` stand at the top; nothing else. What is written under `status`
  is ignored: it belongs to the control plane.
- Unknown fields are refused with the name that was probably meant. `--lenient` (of `fourmast` and of `galley serve`) drops them in silence, as
  Istio 1.4 did.
- Field names may be written in snake_case, as protobuf's JSON allows; they are stored in camelCase.
- **Enumerations** are written by name (`STRICT`); protobuf's numbers are refused. **Whole numbers** are written as numbers: `"100"` is refused,
  `100.0` is taken as 100. They have 32 bits. Only `int64Value` of HTTPAPISpec may also be a text, because JSON's numbers cannot hold all of it.
- **Durations** are texts: `7s`, `0.5s`, `500ms`, `1m30s`; at least a millisecond and nothing finer.
- **Regexes** are RE2, have at most {MAX_REGEX:,} characters and compile to at most {MAX_PROGRAM:,} steps. Expressions of Mixer have at most
  {MAX_EXPRESSION:,} characters.
- YAML is read by version 1.2's rules: `no` is a text and not false, `010` is a text and not 8. A key that appears twice, an unknown tag, a
  control character and half of a surrogate pair are refused. A file has at most {MAX_BYTES // 2**20} MiB and {MAX_DEPTH} levels of nesting.
- All mistakes of all documents are reported together, at most {MOST} for one document.
- Names are those of Kubernetes: lower-case letters, digits, `-` and `.`.

## Mistakes that any of them can have
"""


def pages() -> Mapping[str, str]:
    """File name to text."""
    by_page: dict[str, list[Kind]] = defaultdict(list)
    for kind in registry:
        by_page["mixer-legacy" if kind.name in LEGACY else kind.name.lower()].append(kind)
    mistakes = _mistakes()
    written = {f"{name}.md": _page(name, kinds, mistakes) for name, kinds in by_page.items()}
    return {"README.md": _index(by_page, mistakes), **written}


def _index(by_page: Mapping[str, list[Kind]], mistakes: Mapping[str, list[str]]) -> str:
    lines = [GENERATED, "# Kinds of configuration", "", f"Fourmast knows {len(list(registry))} kinds.", ""]
    lines += ["| kind | apiVersion | in this version |", "|---|---|---|"]
    for page, kinds in sorted(by_page.items(), key=lambda item: (item[1][0].group, item[0])):
        name = "Mixer's older kinds" if page == "mixer-legacy" else kinds[0].name
        versions = ", ".join(dict.fromkeys(f"`{kind.api_version}`" for kind in kinds))
        states = " or ".join(sorted({_state(kind) for kind in kinds}))
        lines.append(f"| [{name}]({page}.md) | {versions} | {states} |")
    lines += RULES_FOR_ALL.rstrip("\n").split("\n")
    for folder in COMMON_MISTAKES:
        lines += ["", f"### In {'its ' if folder != 'reading' else ''}{folder}", "", *_list(mistakes[folder])]
    return "\n".join(lines) + "\n"


def _state(kind: Kind) -> str:
    if kind.collection in NOT_ENFORCED:
        return f"**stored, not enforced**: {NOT_ENFORCED[kind.collection]}"
    if kind.collection in PARTLY_ENFORCED:
        return f"works, but **not enforced**: {PARTLY_ENFORCED[kind.collection]}"
    return "no effect, as in Istio 1.4" if kind.collection in NEVER_READ else "works"


def _page(page: str, kinds: list[Kind], mistakes: Mapping[str, list[str]]) -> str:
    if page == "mixer-legacy":
        return _legacy_page(kinds, mistakes["legacy"])
    lines = [GENERATED, f"# {kinds[0].name}", ""]
    for kind in kinds:
        if len(kinds) > 1:
            lines += [f"## {kind.api_version}", ""]
        lines += [*_facts(kind), "", *_messages(kind, "###" if len(kinds) > 1 else "##")]
    refused = [text for kind in kinds for text in mistakes.get(_identity(kind.api_version, kind.name), ())]
    if refused:
        lines += ["## What is refused", "", *_list(refused)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _facts(kind: Kind) -> Iterator[str]:
    yield f"`apiVersion: {kind.api_version}`, `kind: {kind.name}`. " + (
        "It belongs to the whole mesh." if kind.cluster_scoped else "It belongs to a namespace."
    )
    words = ", ".join(f"`{word}`" for word in dict.fromkeys((kind.plural, *kind.short_names)))
    yield f"In commands: {words}. In MCP: `{kind.collection}`."
    if (state := _state(kind)) != "works":
        yield ""
        yield f"> In this version: {state}."


def _messages(kind: Kind, heading: str) -> Iterator[str]:
    """The spec and every message in it, each once, outer ones first."""
    todo, seen = [kind.spec], {kind.spec}
    while todo:
        message = todo.pop(0)
        assert issubclass(message, Message)
        yield f"{heading} {message.__name__}"
        yield ""
        if message.__doc__:
            yield from (*python_inspect.cleandoc(message.__doc__).split("\n"), "")
        info = inspect.type_info(message)
        assert isinstance(info, inspect.StructType)
        notes = _notes(message)
        yield "| field | type | |"
        yield "|---|---|---|"
        for field in info.fields:
            yield f"| `{field.encode_name}` | {_type(field.type, heading)} | {_about(field, notes.get(field.name, ''), message)} |"
            for inner in _inside(field.type):
                if inner not in seen:
                    seen.add(inner)
                    todo.append(inner)
        yield ""


def _about(field: inspect.Field, note: str, message: type[Message]) -> str:
    parts = []
    if field.required:
        parts.append("required")
    elif field.default not in (None, msgspec.NODEFAULT, "", 0, False, ()) and isinstance(field.default, str | int | float | bool | tuple):
        shown = msgspec.json.encode(field.default).decode() if not isinstance(field.default, str) else field.default
        parts.append(f"default `{shown}`")
    for group in message.ONEOFS:
        if field.encode_name in group:
            others = ", ".join(f"`{name}`" for name in group if name != field.encode_name)
            parts.append(f"not together with {others}")
    if note:
        parts.append(note)
    return "; ".join(parts)


def _type(info: inspect.Type, heading: str) -> str:
    match info:
        case inspect.Metadata():
            return "duration" if (info.extra_json_schema or {}).get("format") == "duration" else _type(info.type, heading)
        case inspect.StructType():
            return f"[{info.cls.__name__}](#{info.cls.__name__.lower()})"
        case inspect.UnionType():
            return " or ".join(_type(arm, heading) for arm in info.types if not isinstance(arm, inspect.NoneType))
        case inspect.VarTupleType():
            return f"list of {_type(info.item_type, heading)}"
        case inspect.DictType():
            return "mapping" if isinstance(info.value_type, inspect.AnyType) else f"mapping of text to {_type(info.value_type, heading)}"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values if value)
        case _:
            names = {"IntType": "whole number", "FloatType": "number", "StrType": "text", "BoolType": "boolean"}
            return names.get(type(info).__name__, "anything")


def _inside(info: inspect.Type) -> Iterator[type[Any]]:
    match info:
        case inspect.StructType():
            yield info.cls
        case inspect.UnionType():
            for arm in info.types:
                yield from _inside(arm)
        case inspect.VarTupleType():
            yield from _inside(info.item_type)
        case inspect.DictType():
            yield from _inside(info.value_type)
        case inspect.Metadata():
            yield from _inside(info.type)


@cache
def _notes(message: type[Message]) -> Mapping[str, str]:
    """What is written below a field in the source."""
    (declared,) = ast.parse(textwrap.dedent(python_inspect.getsource(message))).body
    assert isinstance(declared, ast.ClassDef)
    notes = {}
    for before, after in zip(declared.body, declared.body[1:], strict=False):
        is_note = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
        if is_note and isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            notes[before.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return notes


def _legacy_page(kinds: list[Kind], mistakes: Iterable[str]) -> str:
    lines = [GENERATED, "# Mixer's older kinds", ""]
    lines += [
        "Before `handler` and `instance`, each adapter and each template of Mixer had a kind of its own in `config.istio.io/v1alpha2`. The"
    ]
    lines += [
        "whole `spec` of such a resource is what a `handler` or an `instance` has under `params`. Rules refer to it as `name.kind`, or"
    ]
    lines += ["`name.kind.namespace`, and adapters know it by the latter.", ""]
    lines += ["| kind | plural | is a | the same as | in this version |", "|---|---|---|---|---|"]
    for kind in sorted(kinds, key=lambda kind: kind.name):
        is_adapter = kind.name in LEGACY_ADAPTERS
        same = f"`handler` with `compiledAdapter: {kind.name}`" if is_adapter else f"`instance` with `compiledTemplate: {kind.name}`"
        lines.append(f"| `{kind.name}` | `{kind.plural}` | {'adapter' if is_adapter else 'template'} | {same} | {_state(kind)} |")
    lines += ["", "## What is refused", "", *_list(mistakes)]
    return "\n".join(lines) + "\n"


def _identity(api_version: object, kind: object) -> str:
    return f"{api_version} {kind}"


def _mistakes() -> Mapping[str, list[str]]:
    """What users see, by the kind that they wrote; the first line is where, the second what."""
    found: dict[str, list[str]] = defaultdict(list)
    for golden in sorted(MISTAKES.rglob("*.txt")):
        text = golden.read_text("utf-8").splitlines()[1].strip()
        folder = golden.parent.name
        if folder in (*COMMON_MISTAKES, "legacy"):
            found[folder].append(text)
            continue
        for document in read_documents(golden.with_suffix(".yaml").read_bytes()):
            found[_identity(document.value.get("apiVersion"), document.value.get("kind"))].append(text)
    return found


def _list(texts: Iterable[str]) -> Iterator[str]:
    for text in dict.fromkeys(texts):
        shown = text if len(text) <= 300 else text[:297] + "..."
        ticks = "``" if "`" in shown else "`"
        yield f"- {ticks}{re.sub(r'[^ -~…–‘’“”]', '?', shown)}{ticks}"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    written = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
