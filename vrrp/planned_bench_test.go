package vrrp

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"releve/vrrp/vip"
)

// BenchmarkReload measures how long the owner, and with it every advert, is held up: by the copy that a plan is made from, and by going over
// to a configuration that is the same.
func BenchmarkReload(b *testing.B) {
	config := func() *Config {
		c := &Config{}
		for i := range 1000 {
			c.Instances = append(c.Instances, &InstanceConfig{Name: fmt.Sprintf("VI_%d", i), Iface: fmt.Sprintf("eth%d", i/250), VRID: uint8(1 + i%250), Version: 3, Priority: 100,
				AdvertInt: time.Second, Accept: true, DownTimerAdverts: 3, VIPs: []vip.Address{{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.1/32", 20+i/250, i%250))}}})
		}
		return c
	}
	e := newEngine(Options{Log: slog.New(slog.DiscardHandler), Notify: func(Event) {}})
	e.act, e.alarm, e.watch = newActuator(nil, e.o), idleAlarm{}, &watcher{}
	e.vmacs = &vmacs{dry: true}
	e.open = func(key socketKey, _ string) (*socket, error) { return idleSocket(key), nil }
	e.links = func() (map[int]*iface, error) {
		table := map[int]*iface{}
		for i := 1; i <= 4; i++ {
			table[i] = &iface{index: i, name: fmt.Sprintf("eth%d", i-1), mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, up: true, told: true,
				addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.9.%d.1/24", i))}}
		}
		return table, nil
	}
	prepare := func() *setup {
		next, err := e.prepare(config(), e.haves(), false)
		if err != nil {
			b.Fatal(err)
		}
		return next
	}
	e.commit(prepare())
	e.started = true
	for _, in := range e.instances {
		e.startInstance(in)
	}
	e.settle()
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			e.understudy()
		}
	})
	b.Run("commit", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			next := prepare()
			e.act.queue = nil
			b.StartTimer()
			e.commit(next)
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			e.understudy().play(prepare())
		}
	})
}
