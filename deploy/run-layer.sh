#!/bin/sh
# One layer, once: brings the record from the bucket, runs the layer's checks, takes the record back.
#   run-layer drift | canaries | gate
# It exits 0 when the checks ran, whatever they found: what they found is told in Slack. It exits 3 when some could not
# be evaluated or a message was not delivered, and otherwise as the host does.
set -eu

layer=${1:-}
case $layer in
drift) set -- deployment-drift ;;
canaries)
    set -- phase1-scrapers phase2-raw phase3-analytics phase4-precompute phase5-predictions phase6-publishing
    ;;
gate) set -- phase2-gate ;;
*)
    echo "run-layer: name a layer: drift, canaries or gate" >&2
    exit 64
    ;;
esac

# Cloud Run sends SIGTERM before it stops a job. As process 1, sh would not notice, and it never tells what it waits for.
# So the long commands run in the background and are told.
stopped=false running=
stop() {
    stopped=true
    [ -z "$running" ] || kill -TERM "$running" 2>/dev/null || true
}
trap stop TERM INT

# Runs a command to its end, also when a signal arrives.
follow() {
    "$@" &
    running=$!
    ! $stopped || stop
    ended=0
    wait "$running" || ended=$?
    # A signal ends `wait`, not the command.
    while kill -0 "$running" 2>/dev/null; do
        ended=0
        wait "$running" || ended=$?
    done
    running=
    return "$ended"
}

etc=${HOST_ETC:-/etc/host}
state=${HOST_STATE:-/tmp/state}
# Where the bucket is mounted. Each layer has a record of its own: SQLite cannot be shared through a bucket.
record=${HOST_RECORD:-/record}/$layer

# host.toml names both, and what it names has to be there.
repository=${HOST_REPOSITORY:-/tmp/repository}
mkdir -p "$state" "$repository"
chmod 700 "$state"
if [ -e "$record/host.db" ]; then
    cp "$record/host.db" "$state/host.db"
fi

if [ "$layer" = drift ]; then
    # Commits and trees alone: what files hold does not matter. A token, if there is one, is never on a command line.
    if [ -n "${GIT_TOKEN:-}" ]; then
        export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader
        GIT_CONFIG_VALUE_0="Authorization: Basic $(printf 'x-access-token:%s' "$GIT_TOKEN" | base64 | tr -d '\n')"
        export GIT_CONFIG_VALUE_0
    fi
    follow git clone --quiet --bare --filter=blob:none --single-branch --branch "${REPOSITORY_BRANCH:-main}" \
        "$REPOSITORY" "$repository"
    unset GIT_CONFIG_VALUE_0 GIT_TOKEN
fi

for check in "$@"; do
    shift
    set -- "$@" --check "$check"
done
code=0
if $stopped; then exit 143; fi
follow host run --once --locked --config "$etc/host.toml" "$@" "$etc"/plugins/*.wasm || code=$?

# A host that was killed leaves its last commits beside the record. Whoever opens it next puts them in.
if [ -e "$state/host.db-wal" ]; then
    host history --limit 1 --config "$etc/host.toml" >/dev/null || true
fi
if [ -e "$state/host.db-wal" ]; then
    echo "run-layer: $state/host.db is not whole, so the record in the bucket stays as it was" >&2
    [ "$code" -gt 2 ] || code=3
elif [ -e "$state/host.db" ]; then
    # A new name and a move, so that no reader finds half of it.
    mkdir -p "$record"
    cp "$state/host.db" "$record/host.db.new"
    mv "$record/host.db.new" "$record/host.db"
fi

case $code in
0 | 1 | 2) exit 0 ;;
*) exit "$code" ;;
esac
