# SPDX-License-Identifier: Apache-2.0
"""How reports and findings look in the `status` of a resource: one condition of each type, in Kubernetes' form.

    Accepted     True: it passed validation and is stored
    Analyzed     True: nothing at Warning or above was found; False: the message has the findings; Unknown: not looked at yet
    Programmed   True: all proxies that use it (and Mixer) have it; Unknown: on its way, or nobody uses it; the message says "n/m proxies"
    Rejected     only while somebody refuses it, in the words of Envoy or Mixer

A report about an older version of the resource is not shown: it would accuse the correction of the mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from galley.analysis import Finding
from galley.status.reports import Report
from galley.store.model import Stored

ACCEPTED: Final = "Accepted"
ANALYZED: Final = "Analyzed"
PROGRAMMED: Final = "Programmed"
REJECTED: Final = "Rejected"

_IDLE: Final = "NotUsed"
"""Reason of an Unknown that says nothing against those who do use it."""
_GALLEY: Final = "galley"


def status_of(stored: Stored, reports: Sequence[Report], findings: Sequence[Finding] | None, *, analyzed_since: str = "") -> dict[str, Any]:
    """The status document. `findings` None means that this version was not analysed yet; `analyzed_since` is when that verdict began."""
    version, generation = str(stored.revision), stored.resource.metadata.generation
    current: dict[str, list[Report]] = {PROGRAMMED: [], REJECTED: []}
    for report in reports:
        if report.resource_version == version:
            current.setdefault(report.type, []).append(report)
    refusals = [report for report in current.pop(REJECTED) if report.verdict == "True"]
    conditions = [
        _condition(ACCEPTED, "True", "Valid", f"stored as revision {version}", _GALLEY),
        _analyzed(findings) | ({"lastTransitionTime": analyzed_since} if analyzed_since else {}),
        *(_merged(type_, found) for type_, found in current.items() if found),
        *([_merged(REJECTED, refusals)] if refusals else []),
    ]
    # Kubernetes' form demands the time. Accepted has been true since the object was created; so far nothing else was said of a new one.
    created = stored.resource.metadata.creationTimestamp
    always = {"observedGeneration": generation, "lastTransitionTime": created}
    status: dict[str, Any] = {"conditions": [{**always, **condition} for condition in conditions]}
    if findings:
        status["validationMessages"] = [_message(finding) for finding in findings]
    return status


def _condition(type_: str, verdict: str, reason: str, message: str, reporter: str, **more: str) -> dict[str, Any]:
    return {"type": type_, "status": verdict, "reason": reason, "message": message, "reporter": reporter, **more}


def _analyzed(findings: Sequence[Finding] | None) -> dict[str, Any]:
    if findings is None:
        return _condition(ANALYZED, "Unknown", "Pending", "", _GALLEY)
    worse = [finding for finding in findings if finding.level != "Info"]
    if not worse:
        return _condition(ANALYZED, "True", "NoFindings", "", _GALLEY)
    return _condition(ANALYZED, "False", "FindingsPresent", _joined(f"{f.level} [{f.code}] {f.message}" for f in worse), _GALLEY)


def _merged(type_: str, reports: Sequence[Report]) -> dict[str, Any]:
    """What several Pilots and Mixers say, as one: the worst verdict, with the words of all who have that one or a count."""
    ranked = sorted(reports, key=_rank)
    worst = ranked[0]
    heard = [report for report in ranked if report.verdict == worst.verdict or report.message]
    if worst.reason != _IDLE:
        heard = [report for report in heard if report.reason != _IDLE]
    alone = sum(1 for report in heard if report.message) == 1
    message = _joined(_words(report, alone=alone) for report in heard)
    reporter = ", ".join(sorted({report.reporter for report in heard}))
    return _condition(type_, worst.verdict, worst.reason, message, reporter, lastTransitionTime=max(report.at for report in reports))


def _rank(report: Report) -> tuple[int, str]:
    """A refusal outweighs those who wait, and these outweigh those who have it; who has no use for it counts last."""
    if report.type == REJECTED:
        return (0, report.reporter)
    order = {"False": 0, "Unknown": 1, "True": 2}
    return (3 if report.reason == _IDLE else order[report.verdict], report.reporter)


def _words(report: Report, *, alone: bool) -> str:
    return report.message if alone or not report.message else f"{report.reporter}: {report.message}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(text for text in texts if text)


def _message(finding: Finding) -> dict[str, str]:
    """Istio's own form of a finding in a status, and where it is."""
    return {"code": finding.code, "level": finding.level, "message": finding.message} | ({"path": finding.path} if finding.path else {})
