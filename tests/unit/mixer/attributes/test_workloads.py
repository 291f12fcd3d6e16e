# SPDX-License-Identifier: Apache-2.0
"""Finding workloads by address, account and uid, and remembering those that left."""

from __future__ import annotations

from typing import Any

from common.config.resource import Resource, from_document
from mixer.attributes.workloads import WorkloadIndex


def entry(name: str, address: str, *, account: str = "reviews", namespace: str = "default", **labels: str) -> Resource[Any]:
    return from_document(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"address": address, "labels": labels, "serviceAccount": account},
        }
    )


def test_attributes_of_both_sides() -> None:
    index = WorkloadIndex([entry("reviews-v1", "10.0.0.1", app="reviews", version="v1")])
    workload = index.at(bytes([10, 0, 0, 1]))
    assert workload is not None
    assert dict(workload.source) == {
        "source.uid": "kubernetes://reviews-v1.default",
        "source.name": "reviews-v1",
        "source.namespace": "default",
        "source.labels": {"app": "reviews", "version": "v1"},
        "source.serviceAccount": "reviews",
        "source.workload.uid": "istio://default/workloads/reviews-v1",
        "source.workload.name": "reviews-v1",
        "source.workload.namespace": "default",
    }
    assert workload.destination["destination.workload.name"] == "reviews-v1"


def test_an_address_is_found_in_either_form() -> None:
    index = WorkloadIndex([entry("a", "10.0.0.1"), entry("b", "fd00::1")])
    mapped = index.at(bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 1]))
    assert mapped is not None
    assert mapped.name == "a"
    assert index.at(bytes.fromhex("fd" + "00" * 14 + "01")) is not None
    assert index.at(bytes([10, 0, 0, 2])) is None


def test_an_account_names_a_workload_only_when_it_has_one() -> None:
    index = WorkloadIndex([entry("a", "10.0.0.1"), entry("b", "10.0.0.2"), entry("c", "10.0.0.3", account="ratings")])
    assert index.of_account("default", "reviews") is None
    found = index.of_account("default", "ratings")
    assert found is not None
    assert found.name == "c"


def test_a_uid_splits_at_the_last_dot() -> None:
    index = WorkloadIndex([entry("a.b", "10.0.0.1", namespace="ns")])
    found = index.of_uid("kubernetes://a.b.ns")
    assert found is not None
    assert (found.name, found.namespace) == ("a.b", "ns")


def test_who_left_is_remembered_for_late_reports_but_runs_no_account() -> None:
    now = [0.0]
    index = WorkloadIndex([entry("old", "10.0.0.1")], linger=30, clock=lambda: now[0])
    index.replace([entry("new", "10.0.0.2")])
    late = index.at(bytes([10, 0, 0, 1]))
    assert late is not None
    assert late.name == "old"
    alone = index.of_account("default", "reviews")
    assert alone is not None
    assert alone.name == "new"
    index.replace([entry("new", "10.0.0.2"), entry("newer", "10.0.0.1", account="other")])
    successor = index.at(bytes([10, 0, 0, 1]))
    assert successor is not None
    assert successor.name == "newer"
    now[0] = 31
    index.replace([])
    now[0] = 62
    index.replace([])
    assert index.at(bytes([10, 0, 0, 1])) is None


def test_an_address_that_is_a_name_is_no_address() -> None:
    assert len(WorkloadIndex([entry("a", "db.example.com")])) == 1
