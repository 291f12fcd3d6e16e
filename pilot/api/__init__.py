# SPDX-License-Identifier: Apache-2.0
"""Pilot's edges: the ADS server for proxies, the debug pages for people, configuration from Galley and reports back to it."""
