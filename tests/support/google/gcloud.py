#!/usr/bin/env -S python3 -IS
"""A stand-in for gcloud and bq: it writes down what it is asked, remembers what was made, and refuses what the real ones
refuse: flags they do not have, things that are there already or are not, bindings for nobody.
Commands as in https://cloud.google.com/sdk/gcloud/reference. It keeps its memory in the directory GCLOUD_DOUBLE.
With GCLOUD_NEW_PROJECT no API is enabled and the default account of builds has no role, as in a new project. With
GCLOUD_FAILS the commands that begin with its words fail; with DIES_AT, whoever runs such a command is killed once it is
done. tests/all/real_gcloud.rs holds it against a recording of the real one."""

import contextlib
import io
import json
import os
import re
import signal
import sys

HOME = os.environ["GCLOUD_DOUBLE"]
MEMORY = os.path.join(HOME, "memory.json")

# Each command: the flags that must be there, and those that may.
COMMON = {"--project", "--quiet", "--format"}
COMMANDS = {
    "services enable": (set(), set()),
    "iam service-accounts describe": (set(), set()),
    "iam service-accounts create": (set(), {"--display-name", "--description"}),
    "iam service-accounts delete": (set(), set()),
    "projects add-iam-policy-binding": ({"--member", "--role"}, {"--condition"}),
    "projects remove-iam-policy-binding": ({"--member", "--role"}, {"--condition", "--all"}),
    "secrets describe": (set(), set()),
    "secrets create": (set(), {"--replication-policy", "--data-file", "--labels"}),
    "secrets delete": (set(), set()),
    "secrets add-iam-policy-binding": ({"--member", "--role"}, {"--condition"}),
    "secrets versions add": ({"--data-file"}, set()),
    "secrets versions describe": ({"--secret"}, set()),
    "storage buckets describe": (set(), set()),
    "storage buckets create": (set(), {"--location", "--uniform-bucket-level-access", "--public-access-prevention"}),
    "storage buckets add-iam-policy-binding": ({"--member", "--role"}, {"--condition"}),
    "storage rm": (set(), {"--recursive"}),
    "artifacts repositories describe": ({"--location"}, set()),
    "artifacts repositories create": ({"--location", "--repository-format"}, {"--description"}),
    "artifacts repositories delete": ({"--location"}, set()),
    "artifacts repositories add-iam-policy-binding": ({"--location", "--member", "--role"}, {"--condition"}),
    "builds submit": (
        set(),
        {"--config", "--substitutions", "--tag", "--region", "--service-account", "--gcs-source-staging-dir"},
    ),
    "run jobs describe": ({"--region"}, set()),
    **dict.fromkeys(["run jobs deploy", "beta run jobs deploy"], (
        {"--region", "--image"},
        {
            "--args", "--service-account", "--max-retries", "--task-timeout", "--parallelism", "--cpu", "--memory",
            "--set-env-vars", "--set-secrets", "--add-volume", "--add-volume-mount", "--set-cloudsql-instances",
        },
    )),
    "run deploy": (
        {"--region", "--image"},
        {
            "--args", "--service-account", "--min-instances", "--max-instances", "--no-cpu-throttling", "--cpu", "--memory",
            "--port", "--ingress", "--no-allow-unauthenticated", "--set-cloudsql-instances", "--set-secrets", "--set-env-vars",
            "--startup-probe", "--liveness-probe",
        },
    ),
    "run services describe": ({"--region"}, set()),
    "run services delete": ({"--region"}, set()),
    "run jobs delete": ({"--region"}, set()),
    "run jobs add-iam-policy-binding": ({"--region", "--member", "--role"}, set()),
    "scheduler jobs describe": ({"--location"}, set()),
    "scheduler jobs create http": (
        {"--location", "--schedule", "--uri"},
        {"--time-zone", "--http-method", "--oauth-service-account-email", "--attempt-deadline"},
    ),
    "scheduler jobs update http": (
        {"--location"},
        {"--schedule", "--uri", "--time-zone", "--http-method", "--oauth-service-account-email", "--attempt-deadline"},
    ),
    "scheduler jobs delete": ({"--location"}, set()),
    "compute disks describe": ({"--zone"}, set()),
    "compute disks create": ({"--zone"}, {"--size", "--type"}),
    "compute disks delete": ({"--zone"}, set()),
    "compute instances describe": ({"--zone"}, set()),
    "compute instances create": (
        {"--zone"},
        {
            "--machine-type", "--subnet", "--image-family", "--image-project", "--boot-disk-size", "--boot-disk-type",
            "--disk", "--service-account", "--scopes", "--shielded-secure-boot", "--metadata", "--metadata-from-file",
        },
    ),
    "compute instances add-metadata": ({"--zone"}, {"--metadata", "--metadata-from-file"}),
    "compute instances stop": ({"--zone"}, set()),
    "compute instances start": ({"--zone"}, set()),
    "compute instances delete": ({"--zone"}, set()),
}
# What is made, looked at and deleted, by the words that begin its commands.
KINDS = {
    "iam service-accounts": "account",
    "secrets": "secret",
    "storage buckets": "bucket",
    "artifacts repositories": "repository",
    "run jobs": "job",
    "run services": "service",
    "run deploy": "service",
    "scheduler jobs": "trigger",
    "compute disks": "disk",
    "compute instances": "machine",
}
# The API behind each group of commands. That of BigQuery and of projects is always on.
APIS = {
    "iam": "iam",
    "secrets": "secretmanager",
    "storage": "storage",
    "artifacts": "artifactregistry",
    "builds": "cloudbuild",
    "run": "run",
    "scheduler": "cloudscheduler",
    "compute": "compute",
}


def keys(known):
    """That each key of `key=value,…` is known."""

    def wrong(value):
        given = [pair.split("=")[0] for pair in value.split(",")]
        unknown = [key for key in given if key not in known]
        return f"valid keys are [{', '.join(known)}]; received: {unknown[0]}" if unknown else None

    return wrong


def dictionary(value):
    without = [pair for pair in value.split(",") if "=" not in pair]
    return f"Bad syntax for dict arg: [{without[0]}]." if without else None


PROBE = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold", "httpGet.port", "httpGet.path"]
# What is wrong with a flag's value.
VALUES = {
    "--condition": keys(["None", "description", "expression", "title"]),
    "--disk": keys(["auto-delete", "boot", "device-name", "force-attach", "interface", "mode", "name", "scope"]),
    "--metadata": dictionary,
    "--http-method": lambda value: (
        None if value.lower() in ("delete", "get", "head", "post", "put") else f"Invalid choice: '{value.lower()}'."
    ),
    "--size": lambda value: (
        None if re.fullmatch(r"\d+([GTP]i?B)?", value) else "given value must be of the form DECIMAL[UNITS]"
    ),
    "--ingress": lambda value: (
        None if value in ("all", "internal", "internal-and-cloud-load-balancing") else f"Invalid choice: '{value}'."
    ),
    "--startup-probe": keys(PROBE),
    "--liveness-probe": keys(PROBE),
    "--task-timeout": lambda value: (
        None if re.fullmatch(r"\d+[smh]?", value) else "Failed to parse duration"
    ),
}


def refuse(command, words, code=1):
    print(f"ERROR: (gcloud.{command.replace(' ', '.')}) {words}", file=sys.stderr)
    sys.exit(code)


def main():
    program, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    code, error = 0, io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            run(program, arguments)
    except SystemExit as ended:
        code = ended.code
    sys.stderr.write(error.getvalue())
    with open(os.path.join(HOME, "asked.jsonl"), "a") as log:
        log.write(json.dumps({"command": [program, *arguments]}) + "\n")
        log.write(json.dumps({"exit": code, "error": error.getvalue().split("\n")[0]}) + "\n")
    dies_at = os.environ.get("DIES_AT")
    if dies_at and " ".join(arguments).startswith(dies_at):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    sys.exit(code)


def run(program, arguments):
    memory = {"made": [], "bindings": [], "versions": {}, "apis": []}
    if os.path.exists(MEMORY):
        with open(MEMORY) as file:
            memory = json.load(file)
    if program == "bq":
        bq(memory, arguments)
    else:
        gcloud(memory, arguments)
    with open(MEMORY, "w") as file:
        json.dump(memory, file)


def bq(memory, arguments):
    statement = arguments[-1]
    granted = re.fullmatch(
        r'(GRANT|REVOKE) `(roles/[\w.]+)` ON SCHEMA `[\w-]+`\.(\w+) (TO|FROM) "serviceAccount:([\w.@-]+)"', statement
    )
    if "query" not in arguments or "--use_legacy_sql=false" not in arguments or not granted:
        sys.exit(f"Error in query string: {statement}")
    verb, role, dataset, _, account = granted.groups()
    exists(memory, "account", account)
    bind(memory, verb == "GRANT", f"dataset {dataset}", role, account)


def gcloud(memory, arguments):
    positional = [argument for argument in arguments if not argument.startswith("--")]
    flags = dict((argument.split("=", 1) + [""])[:2] for argument in arguments if argument.startswith("--"))
    command = next((words for words in COMMANDS if positional[: len(words.split())] == words.split()), None)
    if command is None:
        refuse(positional[0], f"Invalid choice: '{positional[1]}'.", 2)
    if os.environ.get("GCLOUD_DENIES"):
        refuse(command, "PERMISSION_DENIED: The caller does not have permission")
    required, optional = COMMANDS[command]
    for argument in arguments:
        flag = argument.split("=")[0]
        if argument.startswith("--") and flag not in required | optional | COMMON:
            refuse(command, f"unrecognized arguments: {argument}", 2)
    missing = sorted(required - flags.keys())
    if missing:
        refuse(command, f"argument {' '.join(missing)}: Must be specified.", 2)
    for flag, value in flags.items():
        wrong = VALUES.get(flag, lambda _: None)(value)
        if wrong:
            refuse(command, f"argument {flag}: {wrong}", 2)
    names = positional[len(command.split()):]
    failing = os.environ.get("GCLOUD_FAILS")
    if failing and command.startswith(failing):
        refuse(command, "UNAVAILABLE: The service is currently unavailable.")
    if command == "services enable":
        memory["apis"] = sorted({*memory["apis"], *names})
        return
    api = APIS.get(command.removeprefix("beta ").split()[0])
    if api and os.environ.get("GCLOUD_NEW_PROJECT") and f"{api}.googleapis.com" not in memory["apis"]:
        # Without a terminal it answers its own question whether to enable it with no.
        refuse(
            command,
            f"PERMISSION_DENIED: {api} API has not been used in project 123456789012 before or it is disabled. Enable it "
            "by visiting https://console.developers.google.com/ then retry.\n- reason: SERVICE_DISABLED"
        )
    if command == "builds submit":
        return build(memory, flags)
    if command.startswith("secrets versions"):
        return versions(memory, command, names, flags)
    if command.startswith("projects"):
        return binding(memory, command, "project", flags)
    if command == "storage rm":
        return memory["made"].remove(exists(memory, "bucket", names[0]))
    group = command.removeprefix("beta ").split()[:2]
    kind = KINDS["secrets" if group[0] == "secrets" else " ".join(group)]
    verb = command.split()[-2] if command.endswith(" http") else command.split()[-1]
    name = names[0]
    if kind == "account" and verb == "create":
        name = f"{name}@{flags['--project']}.iam.gserviceaccount.com"
    thing = f"{kind} {name}"
    if verb in ("create", "deploy") and flags.get("--service-account"):
        exists(memory, "account", flags["--service-account"])
    for disk in filter(None, [flags.get("--disk")] if verb == "create" else []):
        exists(memory, "disk", dict(pair.split("=") for pair in disk.split(","))["name"])
    if verb == "create":
        if thing in memory["made"]:
            refuse(command, f"ALREADY_EXISTS: {thing} already exists")
        memory["made"].append(thing)
    elif verb == "deploy":
        if "mount-options=" in flags.get("--add-volume", "") and not command.startswith("beta "):
            refuse(command, "Volume record of type cloud-storage had unexpected parameter mount-options")
        for secret in filter(None, flags.get("--set-secrets", "").split(",")):
            exists(memory, "secret", secret.split("=")[1].split(":")[0])
        if thing not in memory["made"]:
            memory["made"].append(thing)
    elif verb == "delete":
        memory["made"].remove(exists(memory, kind, name))
    elif verb.endswith("-binding"):
        exists(memory, kind, name)
        binding(memory, command, thing, flags)
    else:
        exists(memory, kind, name)
        print(name)
    if kind == "trigger" and verb in ("create", "update"):
        exists(memory, "account", flags["--oauth-service-account-email"])
        if not re.fullmatch(r"\S+ \S+ \S+ \S+ \S+", flags["--schedule"]):
            refuse(command, f"INVALID_ARGUMENT: Schedule or time zone is invalid: {flags['--schedule']}")


def build(memory, flags):
    """What it needs: https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts"""
    account = flags.get("--service-account", "").rpartition("/")[2]
    if not account:
        if os.environ.get("GCLOUD_NEW_PROJECT"):
            refuse("builds submit", "INVALID_ARGUMENT: could not resolve source: 123456789012-compute@developer.gserviceaccount.com does "
                   "not have storage.objects.get access to the Google Cloud Storage object.")
        return
    exists(memory, "account", account)
    with open(flags["--config"]) as file:
        if "\n  logging: CLOUD_LOGGING_ONLY\n" not in file.read():
            refuse("builds submit", "INVALID_ARGUMENT: if 'build.service_account' is specified, the build must either (a) specify "
                   "'build.logs_bucket', or (c) use either CLOUD_LOGGING_ONLY / NONE logging options")
    bucket = "/".join(flags["--gcs-source-staging-dir"].split("/")[:3])
    image = dict(pair.split("=") for pair in flags["--substitutions"].split(","))["_IMAGE"]
    repository = image.split("/")[2]
    needed = [
        "roles/logging.logWriter on project",
        f"roles/storage.objectViewer on {exists(memory, 'bucket', bucket)}",
        f"roles/artifactregistry.writer on {exists(memory, 'repository', repository)}",
    ]
    for role in needed:
        if f"{account} is {role}" not in memory["bindings"]:
            refuse("builds submit", f"PERMISSION_DENIED: {account} is not {role}")


def versions(memory, command, names, flags):
    secret = flags.get("--secret") or names[0]
    exists(memory, "secret", secret)
    held = memory["versions"].setdefault(secret, [])
    if command.endswith("add"):
        held.append(sys.stdin.read())
    elif not held:
        refuse(command, f"NOT_FOUND: Secret Version [{secret}/versions/latest] not found.")


def exists(memory, kind, name):
    thing = f"{kind} {name}"
    if thing not in memory["made"]:
        refuse(kind, f"NOT_FOUND: {thing} was not found")
    return thing


def binding(memory, command, thing, flags):
    account = flags["--member"].removeprefix("serviceAccount:")
    exists(memory, "account", account)
    bind(memory, "add-" in command, thing, flags["--role"], account)


def bind(memory, add, thing, role, account):
    entry = f"{account} is {role} on {thing}"
    if add and entry not in memory["bindings"]:
        memory["bindings"].append(entry)
    if not add:
        if entry not in memory["bindings"]:
            refuse("policy", f"Policy binding with the specified principal and role not found: {entry}")
        memory["bindings"].remove(entry)


main()
