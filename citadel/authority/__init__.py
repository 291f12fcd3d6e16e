# SPDX-License-Identifier: Apache-2.0
"""Roots and issuing. No I/O: keys and certificates come in as values, time comes in as an argument."""
