# SPDX-License-Identifier: Apache-2.0
"""rule, handler and instance resources -> one immutable, compiled snapshot."""
