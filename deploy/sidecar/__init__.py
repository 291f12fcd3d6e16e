# SPDX-License-Identifier: Apache-2.0
"""`pilot-agent`: the node agent and the Envoy supervisor in one process beside each workload."""
