# SPDX-License-Identifier: Apache-2.0
"""Services and endpoints out of configuration: ServiceEntry, Kubernetes-shaped Service and Endpoints, WorkloadEntry, and the aggregate of them.

A room without I/O: it reads resources that Galley sent and returns `pilot.model` values.
"""
