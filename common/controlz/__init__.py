# SPDX-License-Identifier: Apache-2.0
"""ControlZ: the pages and the JSON by which a part can be looked into, and the monitoring endpoints beside them."""
