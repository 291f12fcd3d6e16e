# SPDX-License-Identifier: Apache-2.0
"""Resources + the previous snapshot -> the next one.

A full build each time: it costs a millisecond or so per rule and cannot be wrong about what depends on what. Only handlers are kept, because
they hold counters, quota and files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog

from common.checkprotocol.epoch import POLICY_COLLECTIONS, policy_epoch
from common.config.kinds.mixer import ATTRIBUTE_MANIFEST, HANDLER, INSTANCE, RULE, Handler
from common.config.mixer_builtin.legacy import LEGACY_HANDLERS, LEGACY_INSTANCES, as_current
from common.config.registry import Kind
from common.config.resource import Resource, ResourceKey
from common.expression import ExpressionError, Vocabulary
from common.mesh.names import ROOT_NAMESPACE
from mixer.adapters import BUILTIN
from mixer.adapters.contract import Adapter, Environment, HandlerSpec
from mixer.dispatch.bulkhead import Bulkhead
from mixer.errors import HandlerError
from mixer.rules.reading import LastGood, RulePlan, read_instance, read_rule
from mixer.rules.references import full_name
from mixer.rules.signature import signature
from mixer.rules.snapshot import BuiltHandler, Finding, Snapshot
from mixer.rules.tables import ResolvedRule, namespace_rules
from mixer.templates.shape import InstanceShape

log = structlog.get_logger("runtime")

COLLECTIONS: tuple[str, ...] = POLICY_COLLECTIONS
"""What Mixer asks Galley for to make its snapshots of."""


@dataclass(frozen=True, slots=True)
class _Action:
    rule: RulePlan
    handler: str
    instances: tuple[InstanceShape, ...]


class SnapshotBuilder:
    """Builds snapshots one after another, and remembers the last good version of every resource."""

    def __init__(
        self, environment: Environment, *, adapters: Mapping[str, Adapter] = BUILTIN, config_namespace: str = ROOT_NAMESPACE
    ) -> None:
        self._environment, self._adapters, self._config_namespace = environment, adapters, config_namespace
        self._good_rules, self._good_instances = LastGood(), LastGood()

    def build(self, resources: Iterable[Resource[Any]], previous: Snapshot) -> Snapshot:
        """The next snapshot. Never raises for configuration: what is wrong is left out and stands in `findings`.

        Handlers of `previous` that are not in the result are the caller's to close, once no call uses them.
        """
        known = sorted(resources, key=lambda resource: resource.key)
        findings: list[Finding] = []
        vocabulary = self._vocabulary(_of(known, ATTRIBUTE_MANIFEST), findings)
        instances = [as_current(resource) for resource in _of(known, INSTANCE, *LEGACY_INSTANCES)]
        shapes = self._good_instances.read(instances, lambda resource: read_instance(resource, vocabulary), findings)
        plans = self._good_rules.read(_of(known, RULE), lambda resource: read_rule(resource, vocabulary), findings)
        handler_resources = {
            full_name(resource.name, resource.kind.name, resource.namespace): as_current(resource)
            for resource in _of(known, HANDLER, *LEGACY_HANDLERS)
        }
        actions = self._resolve(plans.values(), {shape.name: shape for shape in shapes.values()}, handler_resources, findings)
        handlers = self._handlers(actions, handler_resources, previous, findings)
        default, namespaces = namespace_rules(_resolved(plans.values(), actions, handlers), self._config_namespace)
        epoch = policy_epoch(
            (resource.key.collection, resource.key.mcp_name, resource.metadata.resourceVersion)
            for resource in known
            if resource.key.collection in POLICY_COLLECTIONS
        )
        return Snapshot(
            id=previous.id + 1,
            epoch=epoch,
            vocabulary=vocabulary,
            handlers=MappingProxyType(handlers),
            namespaces=MappingProxyType(namespaces),
            default=default,
            findings=tuple(findings),
            counts=Counter(resource.key.collection for resource in known),
        )

    @staticmethod
    def _vocabulary(manifests: Sequence[Resource[Any]], findings: list[Finding]) -> Vocabulary:
        vocabulary = Vocabulary.standard()
        for manifest in manifests:
            try:
                vocabulary = vocabulary.with_manifests([manifest.spec])
            except ExpressionError as error:
                findings.append(Finding(manifest.key, "spec.attributes", error.message))
        return vocabulary

    def _resolve(
        self,
        plans: Iterable[RulePlan],
        shapes: Mapping[str, InstanceShape],
        handlers: Mapping[str, Resource[Handler]],
        findings: list[Finding],
    ) -> list[_Action]:
        """Follow the references of every rule; parts that lead nowhere are findings at the rule."""
        actions: list[_Action] = []
        for plan in plans:
            usable = 0
            for action in plan.actions:
                path = f"spec.actions[{action.index}]"
                name = next((name for name in action.handlers if name in handlers), None)
                if name is None:
                    wanted = action.handlers[-1] if action.handlers else ""
                    findings.append(Finding(plan.key, f"{path}.handler", f"Handler not found: handler='{wanted}'"))
                    continue
                adapter = self._adapter_of(handlers[name])
                chosen: list[InstanceShape] = []
                for index, names in enumerate(action.instances):
                    problem = self._choose(names, shapes, adapter, chosen)
                    if problem:
                        findings.append(Finding(plan.key, f"{path}.instances[{index}]", problem))
                if not chosen:
                    findings.append(Finding(plan.key, f"{path}.instances", "No valid instances found"))
                    continue
                usable += 1
                actions.append(_Action(plan, name, tuple(chosen)))
            if not usable and not plan.directives:
                findings.append(Finding(plan.key, "spec.actions", "No valid actions found in rule"))
        return actions

    @staticmethod
    def _choose(names: tuple[str, ...], shapes: Mapping[str, InstanceShape], adapter: Adapter | None, chosen: list[InstanceShape]) -> str:
        """Add the instance to `chosen`; the reason if it cannot be."""
        shape = next((shapes[name] for name in names if name in shapes), None)
        if shape is None:
            return f"Instance not found: instance='{names[-1] if names else ''}'"
        if shape in chosen:
            return f"instance {shape.name} stands there twice"
        if adapter is not None and shape.template not in adapter.info.templates:
            return f"adapter {adapter.info.name} does not take template {shape.template}; it takes {', '.join(adapter.info.templates)}"
        chosen.append(shape)
        return ""

    def _adapter_of(self, resource: Resource[Handler]) -> Adapter | None:
        return self._adapters.get(resource.spec.compiledAdapter or (resource.spec.adapter or "").partition(".")[0])

    def _handlers(
        self, actions: Sequence[_Action], resources: Mapping[str, Resource[Handler]], previous: Snapshot, findings: list[Finding]
    ) -> dict[str, BuiltHandler]:
        """Handlers that rules refer to: kept, or built. One that cannot be built leaves its predecessor in place, if there is one."""
        instances: dict[str, dict[str, InstanceShape]] = {}
        for action in actions:
            instances.setdefault(action.handler, {}).update((shape.name, shape) for shape in action.instances)
        handlers: dict[str, BuiltHandler] = {}
        for name in sorted(instances):
            older = previous.handlers.get(name)
            shapes = tuple(instances[name][key] for key in sorted(instances[name]))
            try:
                handlers[name] = self._handler(name, resources[name], shapes, older)
            except HandlerError as error:
                field, message = f"spec.{error.field}" if error.field else "spec", str(error)
                if older is not None:
                    handlers[name] = older
                    message += "; the last good version stays in force"
                findings.append(Finding(resources[name].key, field, message))
        return handlers

    def _handler(
        self, name: str, resource: Resource[Handler], shapes: tuple[InstanceShape, ...], older: BuiltHandler | None
    ) -> BuiltHandler:
        written = resource.spec.compiledAdapter or resource.spec.adapter or ""
        adapter = self._adapter_of(resource)
        if adapter is None:
            known = ", ".join(sorted(self._adapters))
            raise HandlerError(
                f"unknown adapter {written!r}; one of {known}", "compiledAdapter" if resource.spec.compiledAdapter else "adapter"
            )
        wanted = signature(adapter.info.name, resource.spec.params, shapes)
        if older is not None and older.signature == wanted:
            return older
        spec = HandlerSpec(name, resource.namespace, resource.spec.params, shapes)
        try:
            handler = adapter.build(spec, self._environment)
        except HandlerError:
            raise
        except Exception as error:  # an adapter's mistake must not take the snapshot with it
            log.exception("an adapter failed to build a handler", handler=name, adapter=adapter.info.name)
            raise HandlerError(f"adapter {adapter.info.name} failed: {type(error).__name__}: {error}") from error
        bulkhead = Bulkhead(name, timeout=self._environment.call_timeout, concurrency=self._environment.call_concurrency)
        return BuiltHandler(name, spec.short_name, adapter.info.name, wanted, handler, bulkhead)


def _of(resources: Iterable[Resource[Any]], *kinds: Kind) -> list[Resource[Any]]:
    collections = {kind.collection for kind in kinds}
    return [resource for resource in resources if resource.key.collection in collections]


def _resolved(plans: Iterable[RulePlan], actions: Sequence[_Action], handlers: Mapping[str, BuiltHandler]) -> list[ResolvedRule]:
    """Rules with their live handlers. A handler of an older version is only handed instances that it was built for."""
    by_rule: dict[ResourceKey, list[tuple[BuiltHandler, InstanceShape]]] = {}
    for action in actions:
        handler = handlers.get(action.handler)
        if handler is not None:
            pairs = ((handler, shape) for shape in action.instances if shape in handler.signature.instances)
            by_rule.setdefault(action.rule.key, []).extend(pairs)
    return [ResolvedRule(plan.key, plan.condition, tuple(by_rule.get(plan.key, ())), plan.directives) for plan in plans]
