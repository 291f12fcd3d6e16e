# SPDX-License-Identifier: Apache-2.0
"""Pilot: configuration and endpoints become Envoy's xDS; the agent that runs Envoy."""
