# SPDX-License-Identifier: Apache-2.0
"""Resources -> typed plans: what each instance and rule means, or a finding that says why it means nothing.

A resource whose new version cannot be read stays in force in its last good version, and the finding says so: a typing mistake must not
open a door that a rule kept shut. Istio 1.4 dropped the broken part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from common.config.kinds.mixer import HeaderOperation as HeaderOperationSpec
from common.config.kinds.mixer import Instance, Rule
from common.config.resource import Resource, ResourceKey
from common.expression import Checked, Constant, ExpressionError, ValueType, Vocabulary, analyse
from mixer.dispatch.result import Operation
from mixer.errors import InstanceError
from mixer.rules.references import candidates, full_name
from mixer.rules.snapshot import DirectiveSlot, Finding
from mixer.templates.shape import InstanceShape, shape_instance

T = TypeVar("T")
AnyResource = Resource[Any]


class Unreadable(Exception):
    """A resource cannot be used at all; carries its findings."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = findings


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """`handlers` are the full names that the reference may mean."""

    handlers: tuple[str, ...]
    instances: tuple[tuple[str, ...], ...]
    """For each instance reference the full names that it may mean."""
    index: int


@dataclass(frozen=True, slots=True)
class RulePlan:
    """A rule with its expressions checked and its references not yet followed."""

    key: ResourceKey
    condition: Checked | None
    actions: tuple[ActionPlan, ...]
    directives: tuple[tuple[DirectiveSlot, Checked], ...]


class LastGood:
    """The last version of each resource that could be read."""

    def __init__(self) -> None:
        self._versions: dict[ResourceKey, AnyResource] = {}

    def read(self, resources: Iterable[AnyResource], read: Callable[[AnyResource], T], findings: list[Finding]) -> dict[ResourceKey, T]:
        """Read each resource, or else its last good version; findings are added for what could not be read."""
        result: dict[ResourceKey, T] = {}
        for resource in resources:
            try:
                result[resource.key] = read(resource)
                self._versions[resource.key] = resource
            except Unreadable as error:
                older = self._older(resource, read)
                if older is not None:
                    result[resource.key] = older
                    findings += (each._replace(message=f"{each.message}; the last good version stays in force") for each in error.findings)
                else:
                    findings += error.findings
        for gone in self._versions.keys() - {resource.key for resource in resources}:
            del self._versions[gone]
        return result

    def _older(self, resource: AnyResource, read: Callable[[AnyResource], T]) -> T | None:
        version = self._versions.get(resource.key)
        try:
            return read(version) if version is not None else None
        except Unreadable:
            return None


def read_instance(resource: Resource[Instance], vocabulary: Vocabulary) -> InstanceShape:
    spec = resource.spec
    template = spec.compiledTemplate or (spec.template or "").partition(".")[0]
    if not template:
        raise Unreadable(Finding(resource.key, "spec.compiledTemplate", "the instance names no template"))
    try:
        return shape_instance(full_name(resource.name, resource.kind.name, resource.namespace), template, spec.params, vocabulary)
    except InstanceError as error:
        raise Unreadable(*(Finding(resource.key, f"spec.{field}", message) for field, message in error.problems)) from error


def read_rule(resource: Resource[Rule], vocabulary: Vocabulary) -> RulePlan:
    key, spec = resource.key, resource.spec
    actions = tuple(
        ActionPlan(
            candidates(action.handler, "handler", resource.namespace),
            tuple(candidates(instance, "instance", resource.namespace) for instance in action.instances),
            index,
        )
        for index, action in enumerate(spec.actions)
    )
    directives = (
        *_directives(key, "requestHeaderOperations", spec.requestHeaderOperations, vocabulary),
        *_directives(key, "responseHeaderOperations", spec.responseHeaderOperations, vocabulary),
    )
    return RulePlan(key, _condition(key, spec.match, vocabulary), actions, directives)


def _condition(key: ResourceKey, match: str, vocabulary: Mapping[str, ValueType]) -> Checked | None:
    """The checked match; None for one that is blank or literally `true`."""
    text = match.strip()
    if text in ("", "true"):
        return None
    try:
        node = analyse(text, vocabulary)
    except ExpressionError as error:
        raise Unreadable(Finding(key, "spec.match", error.message)) from error
    if node.type is not ValueType.BOOL:
        raise Unreadable(Finding(key, "spec.match", f"expected an expression of type BOOL, found {node.type}"))
    return node


def _directives(
    key: ResourceKey, field: str, operations: tuple[HeaderOperationSpec, ...], vocabulary: Mapping[str, ValueType]
) -> list[tuple[DirectiveSlot, Checked]]:
    found: list[tuple[DirectiveSlot, Checked]] = []
    for index, operation in enumerate(operations):
        slot = DirectiveSlot(operation.name.lower(), Operation[operation.operation], field.startswith("response"))
        if slot.operation is Operation.REMOVE:
            found.append((slot, Constant("", ValueType.STRING)))
            continue
        for position, text in enumerate(operation.values):
            path = f"spec.{field}[{index}].values[{position}]"
            try:
                node = analyse(text, vocabulary)
            except ExpressionError as error:
                raise Unreadable(Finding(key, path, error.message)) from error
            if node.type is not ValueType.STRING:
                raise Unreadable(Finding(key, path, f"expected an expression of type STRING, found {node.type}"))
            found.append((slot, node))
    return found
