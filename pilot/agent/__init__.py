# SPDX-License-Identifier: Apache-2.0
"""Runs one Envoy: bootstrap, endpoints of the control plane, supervision, readiness, drain. Knows Pilot only by its address."""
