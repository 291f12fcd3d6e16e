# SPDX-License-Identifier: Apache-2.0
"""What Galley remembers: resources with append-only revisions, reports about them apart from that, and the leases of workloads.

Reads come from an immutable snapshot in memory; only writes touch the disk, each in one transaction.
"""
