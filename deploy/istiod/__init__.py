# SPDX-License-Identifier: Apache-2.0
"""istiod: the same four parts in one process."""
