# SPDX-License-Identifier: Apache-2.0
"""Attributes: the bag, the wire compression of `istio.mixer.v1`, and what is known about workloads."""
