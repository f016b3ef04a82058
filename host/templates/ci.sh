#!/bin/sh
# Builds and tests this plugin; `sh ci.sh publish` then signs and publishes what was built. Two steps, because a build runs
# code of others, which must not see the key. Publishing takes these variables:
#   HOST_REGISTRY  where to publish: oci://ghcr.io/our-team/{{name}}
#   HOST_KEY       the text of the private key that `host keygen` wrote, from the secrets of CI
# The registry's credentials are those of `docker login`. A version is published once: raise it for each release.
set -eu
cd "$(dirname "$0")"

case "${1:-build}" in
build)
    if [ -n "${HOST_KEY:-}" ]; then
        echo "HOST_KEY is set, and the build could read it: set it only for \`sh ci.sh publish\`." >&2
        exit 64
    fi
    {{build}}
    host test "{{component}}"
    echo "Built and tested. To publish it, run \`sh ci.sh publish\` with HOST_REGISTRY and HOST_KEY."
    ;;
publish)
    : "${HOST_REGISTRY:?is not set: where to publish, oci://REGISTRY/NAME}"
    : "${HOST_KEY:?is not set: the text of the private key that host keygen wrote}"
    key=$(mktemp)
    trap 'rm -f "$key"' EXIT
    printf '%s\n' "$HOST_KEY" > "$key"
    host sign --key "$key" "{{component}}"
    host push "{{component}}" "$HOST_REGISTRY"
    ;;
*)
    echo "usage: sh ci.sh [build|publish]" >&2
    exit 64
    ;;
esac
