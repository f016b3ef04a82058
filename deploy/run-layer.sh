#!/bin/sh
# What the image runs.
#   run-layer drift | canaries | gate   one layer, once: brings the record from the bucket, takes it back
#   run-layer once                      the same with every check
#   run-layer all                       every check on its schedule, until SIGTERM; the record is on a disk
# With HOST_STATE_URL the record of all of these is a Postgres database, and nothing is copied.
# One layer exits 0 when the checks ran, whatever they found: what they found is told in Slack. It exits 3 when some could
# not be evaluated, a message was not delivered or the record was not kept, and otherwise as the host does.
set -eu

layer=${1:-}
case $layer in
drift) set -- deployment-drift ;;
canaries)
    set -- phase1-scrapers phase2-raw phase3-analytics phase4-precompute phase5-predictions phase6-publishing
    ;;
gate) set -- phase2-gate ;;
once | all) set -- ;;
*)
    echo "run-layer: name a layer: drift, canaries or gate; or once, or all" >&2
    exit 64
    ;;
esac

# Cloud Run and docker send SIGTERM before they stop a container. As process 1, sh would not notice, and it never tells
# what it waits for. So the long commands run in the background and are told.
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
branch=${REPOSITORY_BRANCH:-main}

# Otherwise the record would be on a disk that nobody keeps.
if [ -n "${HOST_STATE_URL:-}" ] && ! grep -Eq '^[[:space:]]*url_env[[:space:]]*=[[:space:]]*"HOST_STATE_URL"' "$etc/host.toml"; then
    echo "run-layer: HOST_STATE_URL is set, but $etc/host.toml does not name it; write under [state]: url_env = \"HOST_STATE_URL\"" >&2
    exit 64
fi
mkdir -p "$state" "$repository"
chmod 700 "$state"

# A token, if there is one, is never on a command line, and only git gets it.
with_token() {
    if [ -n "${GIT_TOKEN:-}" ]; then
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader
        GIT_CONFIG_VALUE_0="Authorization: Basic $(printf 'x-access-token:%s' "$GIT_TOKEN" | base64 | tr -d '\n')"
        export GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
    fi
    unset GIT_TOKEN
    # A server that accepts and never answers must not stop everything behind it.
    exec timeout "${GIT_TIMEOUT:-120}" "$@"
}

# Commits and trees alone: what files hold does not matter.
clone() {
    with_token git clone --quiet --bare --filter=blob:none --single-branch --branch "$branch" "$REPOSITORY" "$repository"
}
fetch() {
    with_token git -C "$repository" fetch --quiet --filter=blob:none origin "+refs/heads/$branch:refs/heads/$branch"
}

# While it cannot be fetched it has no branch, so that the check is an error: held against old commits, old deployments
# would pass.
behind() {
    echo "run-layer: $REPOSITORY cannot be fetched; deployment-drift cannot be evaluated until it can" >&2
    git -C "$repository" update-ref -d "refs/heads/$branch" 2>/dev/null || true
}

if [ "$layer" = all ]; then
    if [ ! -e "$repository/HEAD" ]; then
        git init --quiet --bare "$repository"
        git -C "$repository" remote add origin "$REPOSITORY"
    fi
    follow fetch || behind
    while sleep "${FETCH_EVERY:-300}"; do (fetch) || behind; done &
    fetching=$!
    unset GIT_TOKEN
    code=0
    $stopped || follow host run --locked --log json --config "$etc/host.toml" "$etc"/plugins/*.wasm || code=$?
    kill "$fetching" 2>/dev/null || true
    exit "$code"
fi

# Whether the record is brought from the bucket and taken back.
copied=true
if [ -n "${HOST_STATE_URL:-}" ]; then copied=false; fi
if $copied; then
    echo "run-layer: warning: the record is in a bucket; if this job is killed, its run is lost and its messages are sent again" >&2
fi
if $copied && [ -e "$record/host.db" ]; then
    cp "$record/host.db" "$state/host.db"
    # To see whether another execution has kept its record since.
    cp "$record/host.db" "$state/before.db"
fi
case $layer in
drift) follow clone ;;
# The other checks need no clone.
once) follow clone || behind ;;
esac
unset GIT_TOKEN

for check in "$@"; do
    shift
    set -- "$@" --check "$check"
done
code=0
if $stopped; then exit 143; fi
follow host run --once --locked --config "$etc/host.toml" "$@" "$etc"/plugins/*.wasm || code=$?

lost() {
    echo "run-layer: $1, so this run's record is lost: what it sent may be sent again" >&2
    [ "$code" -gt 2 ] || code=3
}

# What the checks found is told in Slack.
finish() {
    case $code in
    0 | 1 | 2) exit 0 ;;
    *) exit "$code" ;;
    esac
}
if ! $copied; then finish; fi

# A host that was killed leaves its last commits beside the record. Whoever opens it next puts them in.
if [ -e "$state/host.db-wal" ]; then
    host history --limit 1 --config "$etc/host.toml" >/dev/null || true
fi
if [ -e "$state/host.db-wal" ]; then
    lost "$state/host.db is not whole"
elif [ -e "$record/host.db" ] && ! cmp -s "$record/host.db" "$state/before.db"; then
    lost "another execution of $layer has kept its record meanwhile"
elif [ -e "$state/host.db" ]; then
    # A new name and a move, so that no reader finds half of it.
    if ! { mkdir -p "$record" && cp "$state/host.db" "$record/host.db.new" && mv "$record/host.db.new" "$record/host.db"; }; then
        lost "$record cannot be written"
    fi
fi

finish
