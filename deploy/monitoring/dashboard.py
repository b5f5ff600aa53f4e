#!/usr/bin/env python3
"""Looks at dashboard.json for deploy/monitoring/check.

    dashboard.py rules                 is it whole? Then its queries as a file of rules, for promtool
    dashboard.py live PROGRAM FOLDER   do a relay and a Prometheus have what it and the alarms ask for?

Nothing but Python's own library, Prometheus and the program.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
WIDTH = 24
SELECTOR = re.compile(r"[a-z_]+\{[^}]*\}")
PATIENCE = 60


def main():
    if sys.argv[1:] == ["rules"]:
        print(rules(whole(json.loads((HERE / "dashboard.json").read_text()))))
    elif len(sys.argv) == 4 and sys.argv[1] == "live":
        live(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        sys.exit(__doc__)


def whole(dashboard):
    """The queries, if the dashboard is as Grafana wants it."""
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids), "two panels have the same id"
    assert dashboard["schemaVersion"] >= 42 and dashboard.get("id") is None
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}, variables
    taken, queries = set(), []
    for panel in panels:
        title, place = panel["title"], panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH, title
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{title} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], title
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}", title
            queries.append((title, target["expr"]))
    queries += [(a["name"], a["expr"]) for a in dashboard["annotations"]["list"] if "expr" in a]
    return [(title, plain(query)) for title, query in queries]


def plain(query):
    """As Grafana sends it."""
    query = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
    assert "$" not in query, query
    return query


def rules(queries):
    named = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries)]
    return json.dumps({"groups": [{"name": "dashboard", "rules": named}]})


def live(program, folder):
    queries = whole(json.loads((HERE / "dashboard.json").read_text()))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [program, "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--limit-check", "60:20"]
    processes = []
    try:
        with open(folder / "log", "wb") as log:
            relay = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log)
        processes.append(relay)
        url = relay.stdout.readline().decode().strip()
        said = (folder / "log").read_text
        until(lambda: "metrics address=" in said(), said)
        metrics = re.search(r"metrics address=(\S+)", said()).group(1)

        with socket.create_server(("127.0.0.1", 0)) as free:
            watcher = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(HERE / "alerts.yaml")],
            "scrape_configs": [{"job_name": "connectoid", "static_configs": [{"targets": [metrics]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        with open(folder / "prometheus.log", "wb") as log:
            arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={watcher}"]
            processes.append(subprocess.Popen(["prometheus", *arguments], cwd=folder, stdout=log, stderr=log))

        def ask(path, **parameters):
            with urllib.request.urlopen(f"http://{watcher}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as reply:
                return json.load(reply)["data"]

        def result(query):
            return ask("query", query=query)["result"]

        until(lambda: works(lambda: result('connectoid_build_info{job="connectoid"}')), (folder / "prometheus.log").read_text)
        use(program, environment, folder, url)
        until(lambda: result('connectoid_requests_total{action="none",result="Bad request"} > 0'), said)
        until(lambda: result('count_over_time(up{job="connectoid"}[1m]) > 5'), said)

        alarms = ask("rules")["groups"][0]["rules"]
        queries += [(alarm["name"], alarm["query"]) for alarm in alarms]
        assert len(queries) > 50, len(queries)
        rings = {alarm["name"]: result(alarm["query"]) for alarm in alarms}
        for title, query in queries:
            found = result(query)
            for selector in SELECTOR.findall(query):
                assert selector.startswith("ALERTS") or result(selector), f"{title}: nothing is {selector}"
            if title not in rings:
                assert found or query.endswith("> 0"), f"{title}: no data: {query}"
        broken = {alarm["name"]: alarm["lastError"] for alarm in alarms if alarm.get("lastError")}
        assert not broken, broken
        ringing = sorted(name for name, found in rings.items() if found)
        print(f"{len(queries)} queries have what they ask for; alarms about to ring: {', '.join(ringing) or 'none'}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def use(program, environment, folder, url):
    """A bit of everything that people do."""

    def command(*arguments, text=""):
        done = subprocess.run([program, *arguments], cwd=folder, env=environment, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def post(**fields):
        request = urllib.request.Request(url, json.dumps(fields).encode())
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            return json.load(error)

    link = command("link", "--relay", url, "--app", "https://app.example.com/", "--for", "Bob")
    pub = link.split("connectoid=")[1].split(".")[0]
    command("send", link, text="Bread, please")
    assert post(pub=pub, action="check", at=0)["found"]
    assert post(pub=pub, action="check", at=0, wait=1)["found"]
    command("receive", "Bob")
    assert post(pub=pub, action="receive", answer="A" * 75)["error"] == "Wrong answer"
    assert post(action="steal")["error"] == "Bad request"
    until(lambda: post(pub=pub, action="check", at=0).get("error") == "Too often", lambda: "the limit")


def works(what):
    try:
        return what()
    except OSError:
        return False


def until(done, what):
    started = time.monotonic()
    while not done():
        if time.monotonic() - started > PATIENCE:
            sys.exit(f"dashboard.py: it does not come to be:\n{what()}")
        time.sleep(0.1)


main()
