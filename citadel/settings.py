# SPDX-License-Identifier: Apache-2.0
"""Citadel's settings."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from common.config.duration import seconds
from common.lifecycle.settings import PartSettings
from common.mesh import names


class CitadelSettings(PartSettings):
    """What `citadel serve` can be told."""

    csr_address: str = Field(f"127.0.0.1:{names.CITADEL_CSR}", description="certificate service for join tokens (server TLS)")
    renewal_address: str = Field(f"127.0.0.1:{names.CITADEL_RENEWAL}", description="certificate service for renewal (mutual TLS)")
    admin_address: str = Field(f"127.0.0.1:{names.CITADEL_ADMIN}", description="admin interface (HTTPS, API token)")
    advertised_host: str = Field("", description="host that join files name; empty: the listening address, or none when that is 0.0.0.0")
    workload_cert_ttl: str = Field("24h", description="validity of certificates when the request does not say; renewed at half of it")
    max_workload_cert_ttl: str = Field("2160h", description="longest validity that is granted; never more than 90 days")
    clamp_ttl: bool = Field(False, description="grant the longest validity instead of refusing a request for more")
    requests_per_peer: float = Field(20.0, gt=0, description="certificate requests a second from one address; ten seconds' worth at once")
    requests_total: float = Field(500.0, gt=0, description="certificate requests a second from all addresses")

    @field_validator("workload_cert_ttl", "max_workload_cert_ttl")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        if not 1 <= seconds(value) <= timedelta(days=90).total_seconds():
            raise ValueError("a certificate lasts from 1s to 2160h (90 days)")
        return value
