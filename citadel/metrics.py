# SPDX-License-Identifier: Apache-2.0
"""Citadel's metrics: Istio 1.4's names where it has one.

Differences: the counters also count CreateCertificate (1.4 counted only the older HandleCSR), and the expiry gauge is read at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.telemetry.metrics import process_registry

CSR_COUNT: Final = "citadel_server_csr_count"
ISSUED: Final = "citadel_server_success_cert_issuance_count"
AUTHENTICATION_FAILURES: Final = "citadel_server_authentication_failure_count"
CSR_PARSING_ERRORS: Final = "citadel_server_csr_parsing_err_count"
CSR_SIGN_ERRORS: Final = "citadel_server_csr_sign_err_count"
ROOT_EXPIRY: Final = "citadel_server_root_cert_expiry_timestamp"
RATE_LIMITED: Final = "citadel_server_rate_limited_count"
VALIDITY: Final = "citadel_server_issued_validity_seconds"

csr_count = process_registry.counter(CSR_COUNT, "Signing requests received")
issued = process_registry.counter(ISSUED, "Certificates issued", ("authenticator",))
authentication_failures = process_registry.counter(AUTHENTICATION_FAILURES, "Calls whose credential was not accepted", ("code",))
csr_parsing_errors = process_registry.counter(CSR_PARSING_ERRORS, "Signing requests that could not be used")
csr_sign_errors = process_registry.counter(CSR_SIGN_ERRORS, "Signing requests that were not signed", ("error",))
rate_limited = process_registry.counter(RATE_LIMITED, "Calls refused because there were too many")
validity = process_registry.histogram(
    VALIDITY, "Validity of issued certificates in seconds", buckets=(60, 300, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400)
)


def show_root_expiry(read: Callable[[], float]) -> None:
    """Export when the root expires, in seconds since 1970. A Citadel that is started again in the same process replaces the first."""
    process_registry.remove(ROOT_EXPIRY)
    process_registry.gauge(ROOT_EXPIRY, "When the root expires, in seconds since 1970", read=read)
