#!/bin/sh
# A table of 1,000 virtual servers with 10 real servers each: start, reload with one weight changed, stop; releve next to the
# keepalived that is installed, in one run, in the virtual machine of the tests unless this kernel has IPVS and BENCH_HERE is set.
# Arguments go to bench/lvs: -services N -dests N -rounds N.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/bench
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/bench/releve ./cmd/releve
CGO_ENABLED=0 go build -o build/bench/lvs ./bench/lvs
set -- build/bench/lvs "$@" "$PWD/build/bench/releve"
reference=$(command -v keepalived || true)
[ -z "$reference" ] || set -- "$@" "$reference"
if [ -n "${BENCH_HERE:-}" ]; then
	exec "$@"
fi
exec scripts/testvm -r "$@"
