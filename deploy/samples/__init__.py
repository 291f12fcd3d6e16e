# SPDX-License-Identifier: Apache-2.0
"""Applications and configuration to learn and test with. Standard library only: each starts in a moment, and many run on one machine."""
