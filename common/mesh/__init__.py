# SPDX-License-Identifier: Apache-2.0
"""Names that more than one part must spell alike: ports, namespaces, service accounts, bootstrap clusters, type URLs, node metadata."""
