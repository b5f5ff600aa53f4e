#!/usr/bin/env python3
"""Lambda as far as a process notices it: a Runtime API (and Extensions API) that hands out events and takes the replies.

A tool of deploy/aws/check. What it drives is real: the zip's bootstrap and program, and the Lambda Web Adapter.

    scripts/with-postgres deploy/aws/emulate.py ZIP ADAPTER

Needs PyYAML.
"""

import base64
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

DATABASE = os.environ.get("CONNECTOID_TEST_POSTGRES", "")
HOST = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
PUB = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw"
PATIENCE = 60  # seconds for what takes well below one


class RuntimeApi:
    """Hands out one event after the other, and keeps what comes back."""

    def __init__(self):
        self.events, self.replies, self.asked = queue.Queue(), queue.Queue(), threading.Event()
        self.number = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/2018-06-01/runtime/invocation/next":
                    api.asked.set()
                    number, event = api.events.get()
                    self.reply(
                        200,
                        event,
                        Content_Type="application/json",
                        Lambda_Runtime_Aws_Request_Id=f"request-{number}",
                        Lambda_Runtime_Deadline_Ms=str(int(time.time() * 1000) + 10_000),
                        Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:eu-central-1:123456789012:function:relay",
                        Lambda_Runtime_Trace_Id="Root=1-00000000-000000000000000000000000",
                    )
                elif self.path == "/2020-01-01/extension/event/next":
                    threading.Event().wait()  # no event is registered for
                else:
                    self.reply(404)

            def do_POST(self):
                body = self.body()
                if self.path == "/2020-01-01/extension/register":
                    self.reply(200, b"{}", Lambda_Extension_Identifier="adapter")
                    return
                said = re.fullmatch(r"/2018-06-01/runtime/(?:invocation/request-(\d+)/(response|error)|init/(error))", self.path)
                if not said:
                    self.reply(404)
                    return
                self.reply(202, b'{"status":"OK"}')
                api.replies.put((int(said[1] or 0), said[2] or "init " + said[3], body))

            def body(self):
                if self.headers.get("Transfer-Encoding", "") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while length := int(self.rfile.readline(), 16):
                    body += self.rfile.read(length)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return body

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = "127.0.0.1:%d" % self.server.server_address[1]

    def invoke(self, event):
        """What the function replies to the event: response or error, and the body."""
        self.number += 1
        self.events.put((self.number, json.dumps(event).encode()))
        number, kind, body = self.replies.get(timeout=PATIENCE)
        assert number == self.number, f"a reply to {number}, not to {self.number}: {kind} {body}"
        return kind, body


class Function:
    """The processes of one function, in a folder with what is in the zip, and with no more of an environment than Lambda gives."""

    def __init__(self, archive, handler, adapter=None, **settings):
        self.task = tempfile.TemporaryDirectory()
        with zipfile.ZipFile(archive) as files:
            for file in files.infolist():
                path = Path(files.extract(file, self.task.name))
                path.chmod(file.external_attr >> 16)  # as Lambda does
        self.api = RuntimeApi()
        self.log = tempfile.TemporaryFile()
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "relay",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/relay",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": "eu-central-1",
            "LAMBDA_TASK_ROOT": self.task.name,
            "_HANDLER": handler,
            **settings,
        }
        commands = [[os.path.join(self.task.name, "bootstrap")]] + ([[adapter]] if adapter else [])
        self.processes = [
            subprocess.Popen(command, cwd=self.task.name, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            for command in commands
        ]
        if not self.api.asked.wait(PATIENCE):
            raise AssertionError(f"nobody asked for an event; the log:\n{self.said()}")

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.task.cleanup()


def from_url(source, body=None, path="/", user_agent="curl/8.5.0", **headers):
    """The event of a function URL for a request of this client. Its own X-Forwarded-For stays as it came; see README.md."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": HOST,
            "user-agent": user_agent,
            "x-amzn-trace-id": "Root=1-00000000-000000000000000000000000",
            "x-forwarded-for": source,
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            **said,
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": HOST.split(".")[0],
            "domainName": HOST,
            "domainPrefix": HOST.split(".")[0],
            "http": {
                "method": "GET" if body is None else "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source,
                "userAgent": user_agent,
            },
            "requestId": "00000000-0000-0000-0000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Oct/2026:00:00:00 +0000",
            "timeEpoch": 1790812800000,
        },
        **({} if body is None else {"body": body}),
        "isBase64Encoded": False,
    }


def replied(function, event):
    """What Lambda is told to reply."""
    kind, body = function.api.invoke(event)
    assert kind == "response", (kind, body, function.said())
    return json.loads(body)


def answered(function, event):
    """The status and the JSON that the client gets."""
    reply = replied(function, event)
    text = reply.get("body") or ""
    if reply.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    return reply["statusCode"], json.loads(text) if text.startswith("{") else text


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got}, not {wanted}"
    print(f"{what}: ok")


def relay(archive, adapter):
    """The first function, behind the adapter."""
    settings = variables("Relay") | {"CONNECTOID_DATABASE": DATABASE}
    with Function(archive, "serve", adapter, **settings) as function:
        check = {"pub": PUB, "ext": None, "action": "check", "at": 0}
        send = {"pub": PUB, "ext": None, "action": "send", "data": "AAAA"}

        def asks(request):
            return answered(function, from_url("203.0.113.9", json.dumps(request)))

        expect("a check finds nothing", asks(check), (200, {"ok": True, "found": False}))
        expect("a message is stored", asks(send), (200, {"ok": True}))
        in_base64 = from_url("203.0.113.9", base64.b64encode(json.dumps(send).encode()).decode())  # what curl -d sends
        expect("so is one from curl", answered(function, in_base64 | {"isBase64Encoded": True}), (200, {"ok": True}))
        refused = replied(function, from_url("203.0.113.9", "{}"))
        said = (refused["statusCode"], refused["headers"]["access-control-allow-origin"])
        expect("any page may read a refusal", said, (400, "*"))
        status, found = asks(check)
        expect("the question is asked in the function URL's name", (status, found["relay"]), (200, f"https://{HOST}"))
        since = time.monotonic()
        asks(check | {"at": 2**60, "wait": 25})
        expect("a check that would wait is answered at once", time.monotonic() - since < 5, True)

        def client(source, **more):
            return answered(function, from_url(source, path="/info", **more))[1]["client"]

        forged = json.dumps({"http": {"sourceIp": "198.51.100.1"}})
        expect("the client", client("203.0.113.9"), "203.0.113.9")
        expect("it cannot forge X-Forwarded-For", client("203.0.113.9", x_forwarded_for="198.51.100.1"), "203.0.113.9")
        expect("nor the request's context", client("203.0.113.9", x_amzn_request_context=forged), "203.0.113.9")
        expect("whatever it calls itself", client("203.0.113.9", user_agent='f\u00fcnf "\\ {'), "203.0.113.9")
        expect("over IPv6, too", client("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        held = connections()
        print(f"connections to the database: {held}", file=sys.stderr)
        expect("it holds at most 10 connections to the database", held <= 10, True)
        assert "WARN" not in function.said(), function.said()


def connections():
    """How many the relay holds."""
    query = "select count(*) from pg_stat_activity where application_name like 'connectoid%'"
    return int(subprocess.check_output(["psql", "--no-psqlrc", "--tuples-only", "--command", query, DATABASE]))


def prune(archive):
    """The second function, on what the first one stored."""
    settings = variables("Prune") | {"CONNECTOID_DATABASE": DATABASE, "CONNECTOID_MESSAGE_TTL": "1s"}
    with Function(archive, "prune", **settings) as function:
        deadline = time.monotonic() + PATIENCE
        while "deleted 1 message and 0 boxes" not in function.said():
            assert time.monotonic() < deadline, function.said()
            kind, body = function.api.invoke({"source": "aws.events"})
            assert (kind, json.loads(body)) == ("response", {"ok": True}), (kind, body, function.said())
        print("an event prunes: ok")
    with Function(archive, "prune", CONNECTOID_DATABASE="postgres://nobody:secret@127.0.0.1:1/none") as function:
        for which in ("first", "next"):
            kind, body = function.api.invoke({})
            said = json.loads(body)
            expect(f"without a database the {which} one is an error", (kind, said["errorType"]), ("error", "connectoid.prune"))
            assert "exit code 11" in said["errorMessage"], said
        assert "secret" not in function.said(), function.said()


def variables(function):
    """The variables of one function in lambda.yaml, without those that CloudFormation looks up."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda *_: None)
    document = yaml.load(Path(__file__).with_name("lambda.yaml").read_text(), Loader)
    found = document["Resources"][function]["Properties"]["Environment"]["Variables"]
    return {name: value for name, value in found.items() if value is not None}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    relay(*sys.argv[1:])
    prune(sys.argv[1])
