# SPDX-License-Identifier: Apache-2.0
"""Galley's edges: Kubernetes-shaped REST for people and tools, gRPC for agents, Pilot and Mixer. Status codes exist only here."""
