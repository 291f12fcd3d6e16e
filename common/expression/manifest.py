# SPDX-License-Identifier: Apache-2.0
"""The standard attributes: the 90 names that Istio 1.4's manifests `istioproxy` and `kubernetes` declare."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from common.expression.types import ValueType

_BY_TYPE: Mapping[ValueType, str] = {
    ValueType.STRING: """
        origin.uid origin.user
        source.uid source.user source.principal source.name source.namespace source.owner source.serviceAccount source.services
        source.workload.uid source.workload.name source.workload.namespace
        destination.uid destination.principal destination.name destination.namespace destination.owner destination.serviceAccount
        destination.container.name
        destination.service.host destination.service.name destination.service.namespace destination.service.uid
        destination.workload.uid destination.workload.name destination.workload.namespace
        request.id request.path request.url_path request.host request.method request.referer request.useragent request.scheme request.reason
        request.auth.principal request.auth.audiences request.auth.presenter request.auth.raw_claims request.api_key
        response.grpc_status response.grpc_message
        connection.id connection.event connection.requested_server_name
        context.protocol context.proxy_error_code context.proxy_version context.reporter.kind context.reporter.uid
        api.service api.version api.operation api.protocol
        check.error_message
        rbac.permissive.response_code rbac.permissive.effective_policy_id
    """,
    ValueType.INT64: """
        destination.port request.size request.total_size response.code response.size response.total_size
        connection.received.bytes connection.sent.bytes connection.received.bytes_total connection.sent.bytes_total
        check.error_code
    """,
    ValueType.BOOL: "connection.mtls context.reporter.local check.cache_hit quota.cache_hit",
    ValueType.TIMESTAMP: "request.time response.time context.time context.timestamp",
    ValueType.DURATION: "response.duration connection.duration",
    ValueType.IP_ADDRESS: "origin.ip source.ip destination.ip",
    ValueType.STRING_MAP: """
        source.labels source.metadata destination.labels destination.metadata
        request.headers request.query_params request.auth.claims response.headers
    """,
}

STANDARD: Final[Mapping[str, ValueType]] = MappingProxyType({name: type_ for type_, names in _BY_TYPE.items() for name in names.split()})
