# SPDX-License-Identifier: Apache-2.0
"""Bookinfo, written anew: productpage, details, reviews and ratings with the time-outs and texts that the mesh tutorials rely on.

Run each as `python -m deploy.samples.bookinfo.<service>`. They find each other at `http://<name>:9080`; `DETAILS_HOSTNAME`,
`REVIEWS_HOSTNAME`, `RATINGS_HOSTNAME` and `SERVICES_DOMAIN` change the names.
"""

import os


def address_of(service: str) -> str:
    """Where a service of Bookinfo is called: `http://reviews:9080` unless the environment says otherwise."""
    domain = os.environ.get("SERVICES_DOMAIN", "")
    name = os.environ.get(f"{service.upper()}_HOSTNAME", service)
    return f"http://{name}{'.' + domain if domain else ''}:9080"


PORT = 9080
