# SPDX-License-Identifier: Apache-2.0
"""The Mesh Configuration Protocol of Istio 1.4, `istio.mcp.v1alpha1`."""
