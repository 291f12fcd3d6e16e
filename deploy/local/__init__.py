# SPDX-License-Identifier: Apache-2.0
"""A mesh on one machine: the four parts, one Envoy per workload, and nothing left behind."""
