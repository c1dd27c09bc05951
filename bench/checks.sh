#!/bin/sh
# What health checks cost: 500, 2,000 and 10,000 of them a second, TCP_CHECK, HTTP_GET and SSL_GET, releve next to the keepalived that is
# installed. Arguments go to bench/checks: -kinds tcp,http,ssl -n 500,2000,10000 -window 10s. Needs root for a network namespace of its own.
# Where the kernel has no IPVS, releve writes its table to nftables, and the reference is told (gcc: bench/noipvs) that its requests succeeded
# while the same nftables table stands: the kernel looks at each packet of both.
# With BENCH_VM=1 both run on IPVS in the virtual machine of the tests, where figures are some twenty times larger and only ratios count.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/bench
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/bench/releve ./cmd/releve
CGO_ENABLED=0 go build -o build/bench/checks ./bench/checks
if [ -n "${BENCH_VM:-}" ]; then
	exec scripts/testvm -r build/bench/checks -n 20,50 "$@" "$PWD/build/bench/releve" $(command -v keepalived || true)
fi
preload= table=
reference=$(command -v keepalived || true)
if [ -n "$reference" ] && [ ! -e /proc/net/ip_vs ]; then
	if command -v gcc >/dev/null 2>&1; then
		gcc -shared -fPIC -O2 -o build/bench/noipvs.so bench/noipvs/noipvs.c
		table=$PWD/build/bench/releve
		preload=$PWD/build/bench/noipvs.so
	else
		echo "no IPVS in this kernel and no gcc: the reference cannot run its checkers here"
		reference=
	fi
fi
exec build/bench/checks -preload "$preload" -table "$table" "$@" "$PWD/build/bench/releve" $reference
