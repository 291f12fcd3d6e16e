# SPDX-License-Identifier: Apache-2.0
"""Mixer: policy and telemetry - attributes, rules, adapters."""
