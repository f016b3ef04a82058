#!/bin/sh
# Builds, tests, signs and publishes this plugin. Let CI run it, on each change without the variables, and on a release with:
#   HOST_REGISTRY  where to publish: oci://ghcr.io/our-team/{{name}}
#   HOST_KEY       the text of the private key that `host keygen` wrote, from the secrets of CI
# The registry's credentials are those of `docker login`. A version is published once: raise it for each release.
set -eu
cd "$(dirname "$0")"

{{build}}
host test "{{component}}"

if [ -z "${HOST_REGISTRY:-}" ]; then
    echo "Built and tested. To publish it, set HOST_REGISTRY and HOST_KEY."
    exit 0
fi
: "${HOST_KEY:?is not set: the text of the private key that host keygen wrote}"
key=$(mktemp)
trap 'rm -f "$key"' EXIT
printf '%s\n' "$HOST_KEY" > "$key"
host sign --key "$key" "{{component}}"
host push "{{component}}" "$HOST_REGISTRY"
