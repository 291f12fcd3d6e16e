# SPDX-License-Identifier: Apache-2.0
"""`citadel.db`: roots, API keys, join tokens, every certificate ever issued, revocations."""
