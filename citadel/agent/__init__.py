# SPDX-License-Identifier: Apache-2.0
"""The node agent: hands a workload's key and certificates to its Envoy by SDS, on a Unix socket. A program of its own: it knows only common."""
