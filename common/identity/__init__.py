# SPDX-License-Identifier: Apache-2.0
"""Who a workload is and how it proves it: SPIFFE ids, keys and certificates, enrolment at Citadel, TLS that reloads, API tokens.

Used by the node agent and by every part for its own certificate, so it knows Citadel's wire contract but nothing of Citadel's inside.
"""
