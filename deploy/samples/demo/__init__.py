# SPDX-License-Identifier: Apache-2.0
"""The mesh of `make demo`: Bookinfo, an echo service in two instances, a client in the mesh and one outside; and the rules its rows apply."""
