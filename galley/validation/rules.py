# SPDX-License-Identifier: Apache-2.0
"""Which rules hold for which kind, and the rules about metadata that hold for all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from common.config.kinds.api_spec import HTTPAPISpec, HTTPAPISpecBinding
from common.config.kinds.authentication import PeerAuthentication, Policy
from common.config.kinds.authorization import AuthorizationPolicy
from common.config.kinds.core import Endpoints, Service
from common.config.kinds.destination_rule import DestinationRule
from common.config.kinds.envoy_filter import EnvoyFilter
from common.config.kinds.gateway import Gateway
from common.config.kinds.ingress import Ingress, IngressV1Beta1
from common.config.kinds.legacy_mixer import LegacyHandler, LegacyInstance
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.mixer import Adapter, AttributeManifest, Handler, Instance, QuotaSpec, QuotaSpecBinding, Rule, Template
from common.config.kinds.rbac import RbacConfig, ServiceRole, ServiceRoleBinding
from common.config.kinds.request_authentication import RequestAuthentication
from common.config.kinds.service_entry import ServiceEntry, WorkloadEntry
from common.config.kinds.sidecar import Sidecar
from common.config.kinds.virtual_service import VirtualService
from common.config.problem import Path, Problem, bounded, problem
from common.config.resource import Resource
from galley.validation import api_spec, authentication, core, legacy_mixer, mixer, quota, rbac
from galley.validation.authorization import authorization_policy
from galley.validation.context import STANDARD, Context
from galley.validation.destination_rule import destination_rule
from galley.validation.envoy_filter import envoy_filter
from galley.validation.gateway import gateway
from galley.validation.ingress import ingress
from galley.validation.mesh_config import mesh_config
from galley.validation.primitives import dns_label, label_key, labels
from galley.validation.request_authentication import request_authentication
from galley.validation.service_entry import service_entry, workload_entry
from galley.validation.sidecar import sidecar
from galley.validation.virtual_service import virtual_service

_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\Z")


def validate(resource: Resource[Any], context: Context = STANDARD) -> tuple[Problem, ...]:
    """All semantic mistakes of a resource whose structure is right. Paths begin at the top of its document."""
    return bounded(chain(_metadata(resource), _payload(resource, context)))


def _metadata(resource: Resource[Any]) -> Iterator[Problem]:
    metadata, kind = resource.metadata, resource.kind
    if len(metadata.name) > 253 or not _NAME.match(metadata.name):
        wanted = "at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
        yield problem(("metadata", "name"), f"{metadata.name!r} is not a resource name: {wanted}", found=metadata.name)
    elif kind.name == "Gateway":
        yield from dns_label(metadata.name, ("metadata", "name"))
    if metadata.namespace:
        if kind.cluster_scoped:
            yield problem(
                ("metadata", "namespace"), f"a {kind.name} belongs to the whole mesh; remove its namespace", found=metadata.namespace
            )
        elif metadata.namespace != metadata.namespace.lower():
            yield problem(("metadata", "namespace"), f"namespace {metadata.namespace!r} must be lower-case", found=metadata.namespace)
        else:
            yield from dns_label(metadata.namespace, ("metadata", "namespace"))
    yield from labels(metadata.labels, ("metadata", "labels"))
    for key in metadata.annotations:
        yield from label_key(key, ("metadata", "annotations", key))


def _payload(resource: Resource[Any], context: Context) -> Iterator[Problem]:
    kind, name, namespace = resource.kind, resource.name, resource.namespace
    at: Path = (kind.payload_field,) if kind.payload_field else ()
    match resource.spec:
        case VirtualService() as spec:
            yield from virtual_service(spec, at)
        case DestinationRule() as spec:
            yield from destination_rule(spec, at)
        case Gateway() as spec:
            yield from gateway(spec, at)
        case ServiceEntry() as spec:
            yield from service_entry(spec, at)
        case WorkloadEntry() as spec:
            yield from workload_entry(spec, at)
        case Sidecar() as spec:
            yield from sidecar(spec, at)
        case Policy() as spec:
            yield from authentication.policy(spec, at, name=name, is_mesh_policy=kind.cluster_scoped)
        case PeerAuthentication() as spec:
            yield from authentication.peer_authentication(spec, at)
        case AuthorizationPolicy() as spec:
            yield from authorization_policy(spec, at)
        case RequestAuthentication() as spec:
            yield from request_authentication(spec, at)
        case EnvoyFilter() as spec:
            yield from envoy_filter(spec, at)
        case ServiceRole() as spec:
            yield from rbac.service_role(spec, at)
        case ServiceRoleBinding() as spec:
            yield from rbac.service_role_binding(spec, at)
        case RbacConfig() as spec:
            yield from rbac.rbac_config(spec, at, name=name, kind=kind.name)
        case HTTPAPISpec() as spec:
            yield from api_spec.http_api_spec(spec, at)
        case HTTPAPISpecBinding() as spec:
            yield from api_spec.http_api_spec_binding(spec, at)
        case Ingress() | IngressV1Beta1() as spec:
            yield from ingress(spec, at)
        case LegacyHandler() as spec:
            yield from legacy_mixer.legacy_handler(kind.name, spec.params, at, context)
        case LegacyInstance() as spec:
            yield from legacy_mixer.legacy_instance(kind.name, spec.params, at, context)
        case Rule() as spec:
            yield from mixer.rule(spec, at, context)
        case Handler() as spec:
            yield from mixer.handler(spec, at, context)
        case Instance() as spec:
            yield from mixer.instance(spec, at, context)
        case Adapter() | Template() as spec:
            yield from mixer.adapter_or_template(spec, at)
        case AttributeManifest() as spec:
            yield from mixer.attribute_manifest(spec, at)
        case QuotaSpec() as spec:
            yield from quota.quota_spec(spec, at)
        case QuotaSpecBinding() as spec:
            yield from quota.quota_spec_binding(spec, at)
        case MeshConfig() as spec:
            yield from mesh_config(spec, at, name=name, namespace=namespace)
        case Service() as spec:
            yield from core.service(spec, at)
        case Endpoints() as spec:
            yield from core.endpoints(spec, at)
