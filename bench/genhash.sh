#!/bin/bash
# genhash of releve next to the one that is installed (keepalived --genhash): both print the same digest, and N runs of each are timed,
# against a small web server on this machine. N=500 by default.
set -eu
cd "$(dirname "$0")/.."
n=${1:-500}
mkdir -p build/bench
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/bench/genhash ./cmd/releve
dir=$(mktemp -d)
head -c 20000 /dev/zero | tr '\0' x >"$dir/page"
python3 -u -m http.server --bind 127.0.0.1 --directory "$dir" 0 >"$dir/log" 2>&1 &
server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
port=
for _ in 1 2 3 4 5 6 7 8 9 10; do
	port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$dir/log")
	[ -n "$port" ] && break
	sleep 0.3
done
[ -n "$port" ] || { cat "$dir/log" >&2; exit 1; }
run() {
	name=$1
	shift
	printf '%s: %s\n' "$name" "$("$@" -s 127.0.0.1 -p "$port" -u /page)"
	time -p sh -c 'i=0; n=$1; shift; while [ $i -lt $n ]; do "$@" >/dev/null; i=$((i+1)); done' sh "$n" "$@" -s 127.0.0.1 -p "$port" -u /page
}
run releve build/bench/genhash
if command -v keepalived >/dev/null; then
	run keepalived keepalived --genhash
else
	echo 'keepalived is not installed (apt-get install keepalived): nothing to compare with' >&2
fi
