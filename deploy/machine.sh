#!/bin/sh
# The startup script of the machine that setup.sh makes. Container-Optimized OS runs it as root at every start. It mounts
# the disk with the record, pulls the image, and keeps one container running: systemd starts it again when it ends.
# It reads what setup.sh wrote into the machine's metadata: image, repository, git-token-secret.
set -eu

disk=${DISK:-/dev/disk/by-id/google-record}
mount=${MOUNT:-/mnt/disks/record}
# Most of the system is read-only. This is not, and is empty at each start.
run=${RUN:-/run/pipeline-watch}
metadata=${METADATA:-http://metadata.google.internal/computeMetadata/v1}
secrets=${SECRETS:-https://secretmanager.googleapis.com/v1}

of() { curl --silent --show-error --fail --retry 5 --header "Metadata-Flavor: Google" "$metadata/$1"; }
# The text of a field of a JSON object without nested ones of that name.
field() { tr -d '\n' | sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

image=$(of instance/attributes/image)
repository=$(of instance/attributes/repository)
secret=$(of instance/attributes/git-token-secret)
project=$(of project/project-id)

# Only a disk with nothing but zeros at its beginning is new. ext4 has its superblock there.
if ! head -c 1048576 "$disk" >/dev/null; then
    echo "machine.sh: what is on $disk cannot be read" >&2
    exit 1
fi
if [ "$(head -c 1048576 "$disk" | tr -d '\0' | wc -c)" -eq 0 ]; then mkfs.ext4 -q -m 0 "$disk"; fi
mkdir -p "$mount" "$run"
chmod 700 "$run"
mountpoint -q "$mount" || mount -o discard,nosuid,nodev "$disk" "$mount"
# The image's user.
mkdir -p "$mount/state"
chown 10001:10001 "$mount/state"

# A new account and its rights take minutes to be known everywhere.
until_done() {
    until "$@"; do
        echo "machine.sh: $1 failed, is tried again" >&2
        sleep "${PAUSE:-10}"
    done
}

# Secrets are in files, not on command lines, which everybody on the machine can read.
umask 077
read_git_token() {
    bearer=$(of instance/service-accounts/default/token | field access_token)
    echo "Authorization: Bearer $bearer" >"$run/authorization"
    curl --silent --show-error --fail --retry 5 --header "@$run/authorization" \
        "$secrets/projects/$project/secrets/$secret/versions/latest:access" >"$run/secret"
}
echo "REPOSITORY=$repository" >"$run/environment"
if [ -n "$secret" ]; then
    until_done read_git_token
    echo "GIT_TOKEN=$(field data <"$run/secret" | base64 -d)" >>"$run/environment"
    rm "$run/authorization" "$run/secret"
fi

export HOME="$run"
docker-credential-gcr configure-docker --registries="${image%%/*}"
until_done docker pull --quiet "$image"
# Where this script ran before.
systemctl stop pipeline-watch 2>/dev/null || true
# The network of the machine, so that a page on its loopback address can be seen through ssh alone.
systemd-run --unit=pipeline-watch --collect --property=Restart=always --property=RestartSec=10 --property=TimeoutStopSec=30 \
    --property=ExecStartPre="-/usr/bin/docker rm --force pipeline-watch" \
    --property=ExecStop="/usr/bin/docker stop --time=20 pipeline-watch" \
    /usr/bin/docker run --rm --name=pipeline-watch --network=host --read-only --tmpfs=/tmp:mode=1777 \
    --volume="$mount/state:/tmp/state" --env-file="$run/environment" "$image" all
