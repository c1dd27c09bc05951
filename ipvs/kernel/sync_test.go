package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"releve/ipvs"
)

func TestIPVSSyncDaemon(t *testing.T) {
	p := open(t)
	ctx := context.Background()
	setup(t, "ip link add sync0 type dummy mtu 1500; ip addr add 10.8.0.1/24 dev sync0; ip link set sync0 up")
	t.Cleanup(func() {
		p.StopSync(ctx, ipvs.SyncMaster)
		p.StopSync(ctx, ipvs.SyncBackup)
		run(t, "ip", "link", "del", "sync0")
	})
	steps := []struct {
		name string
		do   func() error
		want error
		text string // part of the error
		run  []string
	}{
		{"nothing runs at first", func() error { return nil }, nil, "", nil},
		{"a backup with defaults", func() error {
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "sync0", ID: 51})
		}, nil, "", []string{"backup sync daemon (mcast=sync0, syncid=51, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)"}},
		{"it cannot be started twice", func() error {
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "sync0", ID: 51})
		}, syscall.EEXIST, "start the backup sync daemon on sync0: it runs already", []string{"backup sync daemon (mcast=sync0, syncid=51, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)"}},
		{"the role changes to master, with all parameters", func() error {
			if err := p.StopSync(ctx, ipvs.SyncBackup); err != nil {
				return err
			}
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "sync0", ID: 255, MaxLen: 1400, Group: netip.MustParseAddr("224.0.0.82"), Port: 9999, TTL: 4})
		}, nil, "", []string{"master sync daemon (mcast=sync0, syncid=255, maxlen=1400, group=224.0.0.82, port=9999, ttl=4)"}},
		{"both can run, over IPv6 too", func() error {
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "sync0", Group: netip.MustParseAddr("ff02::81")})
		}, nil, "", []string{"backup sync daemon (mcast=sync0, syncid=0, maxlen=1452, group=ff02::81, port=8848, ttl=1)",
			"master sync daemon (mcast=sync0, syncid=255, maxlen=1400, group=224.0.0.82, port=9999, ttl=4)"}},
		{"they stop", func() error {
			return errors.Join(p.StopSync(ctx, ipvs.SyncMaster), p.StopSync(ctx, ipvs.SyncBackup))
		}, nil, "", nil},
		{"what does not run cannot be stopped", func() error { return p.StopSync(ctx, ipvs.SyncMaster) }, syscall.ESRCH, "stop the master sync daemon: it does not run", nil},
		{"an interface that does not exist", func() error {
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "nope0"})
		}, syscall.ENODEV, "start the master sync daemon on nope0: no such interface", nil},
		{"a group that is not multicast", func() error {
			return p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "sync0", Group: netip.MustParseAddr("10.0.0.1")})
		}, nil, "start the master sync daemon on sync0: ", nil},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			err := s.do()
			if s.want != nil && !errors.Is(err, s.want) || s.text == "" && err != nil || s.text != "" && (err == nil || !strings.Contains(err.Error(), s.text)) {
				t.Errorf("error %v, want %v %s", err, s.want, s.text)
			}
			var got []string
			for _, l := range strings.Split(ipvsadm(t, "-L --daemon"), "\n") {
				if l = strings.TrimSpace(l); l != "" {
					got = append(got, l)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, s.run) {
				t.Errorf("ipvsadm -L --daemon says\n%q\nwant\n%q", got, s.run)
			}
			state, err := p.SyncState(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var read []string
			for _, d := range state {
				read = append(read, d.String())
			}
			slices.Sort(read)
			if !slices.Equal(read, s.run) {
				t.Errorf("read back are\n%q\nwant\n%q", read, s.run)
			}
		})
	}
}
