"""Runs an Extism plugin as a check is run, in a new instance each time: calls.py PLUGIN DATABASE TIMES.

Prints the median in nanoseconds."""

import json
import pathlib
import sqlite3
import statistics
import sys
import time

from extism.extism import CompiledPlugin, Plugin, host_fn

plugin, database, times = sys.argv[1:]


connection = sqlite3.connect(":memory:")
connection.execute("ATTACH ? AS nba_raw", [database])


@host_fn(name="query", namespace="extism:host/user")
def query(sql: str) -> str:
    return json.dumps(connection.execute(sql).fetchall())


compiled = CompiledPlugin(pathlib.Path(plugin).read_bytes(), functions=[query])


def run():
    started = time.perf_counter_ns()
    answer = Plugin(compiled).call("check", b"")
    assert len(json.loads(answer)[0]) == 4
    return time.perf_counter_ns() - started


for _ in range(20):
    run()
print(round(statistics.median(run() for _ in range(int(times)))))
