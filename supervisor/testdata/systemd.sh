#!/bin/sh
# Runs systemd as process 1 of new namespaces, on a writable overlay of this machine's root, with nothing to do but the unit
# releve-test.service, which runs a script. Usage: systemd.sh SCRATCH SCRIPT; SCRATCH is an empty folder; SCRIPT and the folder bin
# beside it are copied to /opt/releve. Needs root. What happens inside touches nothing outside: own mounts, processes, network, host
# name, IPC and control groups.
set -eu
scratch=$1 script=$2
group=releve-systemd-$$

groups() { # the folders of the hierarchies that this process is in
	while IFS=: read -r _ controllers _; do
		case $controllers in
		'') for d in /sys/fs/cgroup/unified /sys/fs/cgroup; do [ ! -e "$d/cgroup.controllers" ] || { echo "$d"; break; }; done ;;
		name=*) echo "/sys/fs/cgroup/${controllers#name=}" ;;
		*) echo "/sys/fs/cgroup/$controllers" ;;
		esac
	done </proc/self/cgroup
}

if [ "${3:-}" != inside ]; then
	: >"$(dirname "$script")/out"
	dirs=$(groups | sort -u)
	for d in $dirs; do mkdir -p "$d/$group" 2>/dev/null || :; done
	status=0
	timeout -s KILL "${RELEVE_SYSTEMD_TIMEOUT:-240}" sh -c '
		group=$1; shift
		for d in $1; do { echo $$ >"$d/$group/cgroup.procs"; } 2>/dev/null || :; done
		shift
		exec unshare --mount --net --pid --fork --ipc --uts --cgroup --kill-child "$@"
	' sh "$group" "$dirs" "$0" "$scratch" "$script" inside || status=$?
	for d in $dirs; do
		for try in 1 2 3 4 5; do
			[ -e "$d/$group" ] || break
			find "$d/$group" -depth -type d -exec rmdir {} \; 2>/dev/null || sleep 0.1
		done
	done
	cat "$(dirname "$script")/out"
	exit $status
fi

mount --make-rprivate /
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root" "$scratch/results"
root=$scratch/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
for fs in proc:proc sysfs:sys tmpfs:run tmpfs:tmp tmpfs:dev; do mount -t "${fs%:*}" "${fs%:*}" "$root/${fs#*:}"; done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
	mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
	mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
	mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified" || :
fi
for d in null zero full random urandom tty; do
	: >"$root/dev/$d"
	mount --bind "/dev/$d" "$root/dev/$d"
done
mkdir "$root/dev/pts" "$root/dev/shm"; mkdir -p "$root/opt/releve"
ln -s /proc/self/fd "$root/dev/fd"
rm -rf "$root/etc/systemd/system"
mkdir "$root/etc/systemd/system"
cp "$script" "$root/opt/releve/script"
cp -r "$(dirname "$script")/bin" "$root/opt/releve/bin"
cat >"$root/etc/systemd/system/releve-test.target" <<X
[Unit]
Wants=releve-test.service
X
cat >"$root/etc/systemd/system/releve-test.service" <<X
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh -c "sh /opt/releve/script; systemctl --force exit"
StandardOutput=append:/opt/releve/out
StandardError=inherit
X
: >"$root/opt/releve/out"
mount --bind "$(dirname "$script")/out" "$root/opt/releve/out"
exec chroot "$root" /usr/bin/env -i container=releve PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=releve-test.target --log-target=null
