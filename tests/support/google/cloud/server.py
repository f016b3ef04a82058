#!/usr/bin/env python3
"""Google Cloud for the real gcloud and bq: a proxy on this machine that answers in the place of every googleapis.com.

    server.py DIRECTORY [API…]    DIRECTORY has server.pem and server.key; these APIs are enabled

It prints its port. Each request becomes a line of DIRECTORY/asked.jsonl, and DIRECTORY/made.json is what there is."""

import http.server
import json
import os
import ssl
import sys
import threading
import urllib.parse

import apis
import machines
from state import Cloud, Refused

HOME = sys.argv[1]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(os.path.join(HOME, "server.pem"), os.path.join(HOME, "server.key"))
LOCK = threading.Lock()
CLOUD = Cloud({**apis.ROUTES, **machines.ROUTES}, sys.argv[2:])


def keep():
    """Whole at every moment, also when a test reads it."""
    new = os.path.join(HOME, "made.json.new")
    with open(new, "w") as file:
        json.dump(CLOUD.made(), file)
    os.replace(new, os.path.join(HOME, "made.json"))


class Request:
    """What was asked."""

    def __init__(self, method, host, split, body):
        self.method, self.host, self.path, self.body = method, host, split.path, body
        self.query = dict(urllib.parse.parse_qsl(split.query))
        try:
            self.json = json.loads(body or b"{}")
        except ValueError:
            # A file.
            self.json = None
        # Of regional addresses too: us-west2-run.googleapis.com.
        self.api = host.split(".")[0].rpartition("-")[2]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection: CONNECT, TLS, and then requests."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        self.connection = TLS.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb", -1), self.connection.makefile("wb", 0)
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()

    def asked(self):
        split = urllib.parse.urlsplit(self.path)
        request = Request(self.command, self.headers["host"].removesuffix(":443"), split, self.read())
        # As it was sent: what is remembered of it grows.
        sent = json.loads(json.dumps(request.json))
        with LOCK:
            try:
                code, answer = 200, CLOUD.answer(request)
            except Refused as refused:
                code, answer = refused.code, refused.body
            keep()
            with open(os.path.join(HOME, "asked.jsonl"), "a") as log:
                line = {"method": request.method, "path": request.host + request.path, "body": sent, "code": code}
                log.write(json.dumps(line) + "\n")
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(code if body else 204)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = asked


SERVER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(SERVER.server_address[1], flush=True)
SERVER.serve_forever()
