# SPDX-License-Identifier: Apache-2.0
"""TCP echo: gives every line back with a prefix, so that it shows which version a connection reached."""
