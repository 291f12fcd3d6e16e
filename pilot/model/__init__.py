# SPDX-License-Identifier: Apache-2.0
"""Immutable values that Pilot computes with: services, endpoints, proxies, what a proxy may see, and the snapshot that holds them all.

A room without I/O. `pilot.registry` makes these values from resources, `pilot.networking` makes Envoy's resources from them.
"""
