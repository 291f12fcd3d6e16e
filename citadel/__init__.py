# SPDX-License-Identifier: Apache-2.0
"""Citadel: identities and certificates; the node agent that hands them to Envoy."""
