# SPDX-License-Identifier: Apache-2.0
"""The reference page of the analysis, made from the codes themselves: `python -m galley.analysis.reference > docs/reference/analysis.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from galley.analysis.codes import NOT_APPLICABLE, RULES, Rule

ISTIO_1_4: Final = frozenset(f"IST{number:04}" for number in (1, 2, *range(101, 113), 119))
"""The codes of Istio 1.4."""

_HEAD: Final = """\
# What the analysis finds

`fourmast analyze` reports these codes, and Galley shows them at the resource (`status.conditions`, `status.validationMessages`). Codes, names,
levels and sentences are Istio's, so that what you know and search for still fits; what is a pod to Istio is a workload here: a WorkloadEntry,
written or registered by an agent. Rules about workloads are silent while no workload is known, as in an analysis of files alone.

Analysis never refuses anything. An Error is something that does not work, a Warning something that probably does not do what was meant, an
Info something to know. `--failure-threshold` says from which level on `fourmast analyze` exits with 79 (default: Warning).

To leave a finding out, say `--suppress 'IST0118=Service default/*'`, or write it at the resource:

```yaml
metadata:
  annotations:
    galley.istio.io/analyze-suppress: "IST0118,IST0174"   # "*" for all
```
"""


def page() -> str:
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from _section("Codes of Istio 1.4", (rule for rule in RULES.values() if rule.code in ISTIO_1_4))
    yield from _section("Later codes", (rule for rule in RULES.values() if rule.code.startswith("IST") and rule.code not in ISTIO_1_4))
    yield from _section("Codes of Fourmast", (rule for rule in RULES.values() if not rule.code.startswith("IST")))
    yield "## Codes that are not reported\n"
    yield "| code | why |"
    yield "|---|---|"
    for code, reason in NOT_APPLICABLE.items():
        yield f"| {code} | {reason} |"
    yield ""


def _section(title: str, rules: Iterable[Rule]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| code | name | level | message |"
    yield "|---|---|---|---|"
    for rule in rules:
        yield f"| {rule.code} | {rule.name} | {rule.level} | {rule.text.replace('{}', '…')} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
