# SPDX-License-Identifier: Apache-2.0
"""Built-in adapters, one small package for each. They never see each other's failures."""
