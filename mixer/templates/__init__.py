# SPDX-License-Identifier: Apache-2.0
"""What adapters are handed: one small module for each template."""
