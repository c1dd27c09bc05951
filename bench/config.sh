#!/bin/sh
# keepalived -t of ours beside the reference's, in a network namespace of its own where that can be made.
set -eu
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/config" ./bench/config
if unshare -n true 2>/dev/null; then run='unshare -n'; else run=; fi
$run "$bin/config" -releve bin/keepalived "$@"
