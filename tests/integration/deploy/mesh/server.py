# SPDX-License-Identifier: Apache-2.0
"""Answers who it is and whom its proxy says the caller is."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        caller = self.headers.get("x-forwarded-client-cert", "nobody")
        body = f"{os.environ['WORKLOAD_NAME']} uid={os.getuid()} called by {caller}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((os.environ["BIND_HOST"], 8000), Handler).serve_forever()
