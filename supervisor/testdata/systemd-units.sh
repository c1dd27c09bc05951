# What an administrator does with the unit, as lines `ok WHAT` and `FAILED WHAT: why`. Runs under systemd, see systemd.sh; UNITS
# is the folder with the units.
exec 2>&1
cd /
bin=/opt/releve/bin
for name in keepalived releve; do rm -f /usr/sbin/$name; cp $bin/releve /usr/sbin/$name; done
rm -f /lib/systemd/system/keepalived.service.d/* /etc/default/keepalived
mkdir -p /etc/keepalived
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip addr add 10.9.0.2/24 dev v0

good() { cat >/etc/keepalived/keepalived.conf <<X
vrrp_instance VI_1 {
  interface v0
  virtual_router_id 51
  priority 255
  virtual_ipaddress {
    10.9.0.1/24
    $1
  }
}
X
}
what=
ok() { if "$@"; then echo "ok $what"; else echo "FAILED $what: $*: $(systemctl show keepalived -p ActiveState -p SubState -p MainPID -p Result | tr '\n' ' ')"; fi; }
not() { ! "$@"; }
soon() { for i in $(seq 600); do "$@" && return 0; sleep 0.05; done; return 1; }
has() { ip -o addr show dev v0 | grep -q " $1"; }
pid() { systemctl show -p MainPID --value keepalived; }
state() { [ "$(systemctl show -p ActiveState --value keepalived)" = "$1" ]; }
comm() { [ "$(cat /proc/$(pid)/comm)" = keepalived ]; }
pidfile() { [ "$(cat /run/keepalived.pid)" = "$(pid)" ]; }
same() { [ "$(pid)" = "$old" ]; }
other() { [ "$(pid)" != "$old" ] && state active; }
gone() { [ ! -e /run/keepalived.pid ] && [ ! -e /run/vrrp.pid ] && ! pidof keepalived >/dev/null; }

unit() { # NAME FILE
	cp "$2" /etc/systemd/system/keepalived.service
	good
	systemctl daemon-reload
	what="$1: start returns when the addresses can be served"
	ok systemctl start keepalived
	what="$1: active, with the main process of the pid file, called keepalived"
	ok state active
	ok pidfile
	ok comm
	what="$1: the virtual address is there"
	ok soon has 10.9.0.1/24
	old=$(pid)
	good 10.9.0.77/24
	what="$1: reload"
	ok systemctl reload keepalived
	ok soon has 10.9.0.77/24
	ok same
	echo 'vrrp_instance VI_1 {' >/etc/keepalived/keepalived.conf
	what="$1: a reload of a broken file leaves everything as it is"
	systemctl reload keepalived
	[ "$1" != notify ] || echo "status of the reload: $?"
	sleep 0.3
	ok state active
	ok same
	ok has 10.9.0.1/24
	good
	what="$1: a killed part comes back, the unit stays up"
	child=$(cat /run/vrrp.pid)
	kill -KILL $child
	respawned() { [ -e /run/vrrp.pid ] && [ "$(cat /run/vrrp.pid)" != "$child" ]; }
	ok soon respawned
	ok state active
	ok same
	what="$1: restart"
	ok systemctl restart keepalived
	ok not same
	ok soon has 10.9.0.1/24
	what="$1: stop leaves nothing"
	ok systemctl stop keepalived
	ok gone
	ok not has 10.9.0.1/24
	what="$1: stopped without a failure"
	ok state inactive
	systemctl reset-failed keepalived 2>/dev/null
}

unit notify $bin/keepalived.service
unit forking $bin/keepalived-forking.service
if [ -e $bin/reference.service ]; then unit "the reference's own unit" $bin/reference.service; fi

what="a broken file at the start fails the unit"
cp $bin/keepalived.service /etc/systemd/system/keepalived.service
mkdir -p /etc/systemd/system/keepalived.service.d
printf '[Service]\nRestart=no\n' >/etc/systemd/system/keepalived.service.d/test.conf
systemctl daemon-reload
printf 'vrrp_instance VI_1 {\n  interface v0\n  virtual_router_id\n}\n' >/etc/keepalived/keepalived.conf
ok not systemctl start keepalived
ok state failed
systemctl reset-failed keepalived

what="nothing configured is ready too"
printf 'global_defs {\n  router_id x\n}\n' >/etc/keepalived/keepalived.conf
ok systemctl start keepalived
ok state active
ok systemctl stop keepalived

what="the watchdog is fed, and a daemon that hangs is started again"
printf '[Service]\nWatchdogSec=3\nRestart=always\nTimeoutAbortSec=2\nTimeoutStopSec=2\n' >/etc/systemd/system/keepalived.service.d/test.conf
systemctl daemon-reload
good
ok systemctl start keepalived
old=$(pid)
sleep 4
ok same
kill -STOP $old
ok soon other
ok soon has 10.9.0.1/24
kill -KILL $old 2>/dev/null
ok systemctl stop keepalived
echo done
