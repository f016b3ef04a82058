#!/usr/bin/env python3
"""The real gcloud or bq, by the name that this is called with: what it was asked and how it ended go where cloud.py, the
double behind it, writes its requests. With DIES_AT, whoever runs a command that begins so is killed once it is done."""

import json
import os
import signal
import subprocess
import sys

NAME = os.path.basename(sys.argv[0])
REAL = [os.environ[f"REAL_{NAME.upper()}"], *sys.argv[1:]]
# bq asks gcloud for its configuration.
if "INSIDE" in os.environ:
    os.execv(REAL[0], REAL)


def log(line):
    with open(os.path.join(os.environ["CLOUD"], "asked.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")


log({"command": [NAME, *sys.argv[1:]]})
ended = subprocess.run(REAL, stderr=subprocess.PIPE, text=True, env={**os.environ, "INSIDE": "1"})
sys.stderr.write(ended.stderr)
errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
log({"exit": ended.returncode, "error": errors[0] if errors else ""})
dies_at = os.environ.get("DIES_AT")
if dies_at and " ".join(sys.argv[1:]).startswith(dies_at):
    os.killpg(os.getpgrp(), signal.SIGKILL)
sys.exit(ended.returncode)
