# SPDX-License-Identifier: Apache-2.0
"""Details: facts about a book."""

from deploy.samples.bookinfo import PORT
from deploy.samples.web import Request, Response, json_response, run


async def health(_: Request) -> Response:
    return json_response({"status": "Details is healthy"})


async def details(request: Request) -> Response:
    try:
        number = int(request.found["id"])
    except ValueError:
        return json_response({"error": "please provide numeric product id"}, 400)
    return json_response(
        {
            "id": number,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }
    )


if __name__ == "__main__":
    run([("GET", "/health", health), ("GET", "/details/(?P<id>[^/]+)", details)], port=PORT)
