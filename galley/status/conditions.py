# SPDX-License-Identifier: Apache-2.0
"""How reports and findings look in the `status` of a resource, in Kubernetes' form.

A report about an older version of the resource is not shown: it would accuse the correction of the mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galley.analysis import Finding
from galley.status.reports import Report
from galley.store.model import Stored


def status_of(stored: Stored, reports: Sequence[Report], findings: Sequence[Finding] | None) -> dict[str, Any]:
    """The status document; empty when nothing is known. `findings` None means that this version was not analysed yet."""
    version = str(stored.revision)
    conditions = [
        {
            "type": report.type,
            "status": report.verdict,
            "reason": report.reason,
            "message": report.message,
            "reporter": report.reporter,
            "observedGeneration": stored.resource.metadata.generation,
            "lastTransitionTime": report.at,
        }
        for report in reports
        if report.resource_version == version
    ]
    status: dict[str, Any] = {}
    if findings is not None:
        worse = [f for f in findings if f.level != "Info"]
        conditions.append(
            {
                "type": "PassedAnalysis",
                "status": "False" if worse else "True",
                "reason": "FindingsPresent" if worse else "NoFindings",
                "message": "; ".join(f"{f.level} [{f.code}] {f.message}" for f in worse),
                "reporter": "galley",
                "observedGeneration": stored.resource.metadata.generation,
            }
        )
        if findings:
            status["validationMessages"] = [{"code": f.code, "level": f.level, "message": f.message} for f in findings]
    if conditions:
        status["conditions"] = conditions
    return status
