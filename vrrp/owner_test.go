package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"releve/vrrp/batch"
	"releve/vrrp/machine"
	"releve/vrrp/vip"
	"releve/vrrp/wire"
)

// softAlarm is the alarm of a bubble, where the runtime's timers are exact.
type softAlarm struct {
	t *time.Timer
	c chan struct{}
}

func newSoftAlarm() *softAlarm {
	a := &softAlarm{c: make(chan struct{}, 1)}
	a.t = time.AfterFunc(time.Hour, func() {
		select {
		case a.c <- struct{}{}:
		default:
		}
	})
	return a
}

func (a *softAlarm) Set(d time.Duration) { a.t.Reset(max(d, 1)) }
func (a *softAlarm) C() <-chan struct{}  { return a.c }
func (a *softAlarm) Close()              { a.t.Stop() }

// diary writes down, in order and with times, what an engine does to the world.
type diary struct {
	mu    sync.Mutex
	begin time.Time
	lines []string
	addrs map[netip.Prefix]bool
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%v ", time.Since(d.begin).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// take gives the lines since the last call.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lines
	d.lines = nil
	return l
}

// fakeKernel is the kernel as the actuator sees it.
type fakeKernel struct {
	d      *diary
	frames int
}

func (k *fakeKernel) Apply(list []vip.Change) []error {
	for _, c := range list {
		if c.Add != k.d.addrs[c.Addr.Prefix] {
			if c.Add {
				k.d.note("add %s", c.Addr.Prefix)
			} else {
				k.d.note("del %s", c.Addr.Prefix)
			}
		}
		k.d.addrs[c.Addr.Prefix] = c.Add
	}
	return make([]error, len(list))
}
func (k *fakeKernel) List() ([]vip.Present, error) { return nil, nil }
func (k *fakeKernel) Send([]byte, int) error       { k.frames++; return nil }
func (k *fakeKernel) Flush() error {
	k.d.note("%d announcements", k.frames)
	k.frames = 0
	return nil
}
func (k *fakeKernel) Close() error { return nil }

// fakeEngine runs an engine without a kernel; the fake socket writes adverts into the diary.
func fakeEngine(t *testing.T, cfg *Config, o Options) (*Engine, *diary) {
	t.Helper()
	d := &diary{begin: time.Now(), addrs: map[netip.Prefix]bool{}}
	o.Log = slog.New(slog.DiscardHandler)
	o.Notify = func(ev Event) { d.note("%s %s %s %d", ev.Kind, ev.Name, ev.What, ev.Priority) }
	e := newEngine(o)
	e.act = newActuator(&fakeKernel{d: d}, o)
	e.alarm = newSoftAlarm()
	e.links = func() (map[int]*iface, error) {
		return map[int]*iface{2: {index: 2, name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, up: true, addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}, nil
	}
	e.open = func(key socketKey, _ string) (*socket, error) {
		return &socket{key: key, fd: -1, groups: map[netip.Addr]int{}, send: func(w *batch.Writer) (int, error) {
			for i := range w.Len() {
				p := w.Packet(i)
				d.note("advert %d prio %d id %d", p[21], p[22], int(p[4])<<8|int(p[5]))
			}
			w.Reset()
			return 0, nil
		}}, nil
	}
	next, err := e.prepare(cfg, haves{}, false)
	if err != nil {
		t.Fatal(err)
	}
	e.commit(next)
	return e, d
}

// hear makes the engine receive an advert of another router.
func hear(t *testing.T, e *Engine, vrid, prio uint8, vips ...netip.Addr) {
	t.Helper()
	src := netip.MustParseAddr("10.9.0.2")
	a := wire.Advert{Version: 2, VRID: vrid, Priority: prio, Interval: time.Second, Addrs: vips}
	data := a.Append(nil, src, wire.Group4, wire.ChecksumDefault)
	err := e.call(t.Context(), func() {
		e.packet = wire.Packet{Data: data, Src: src, Dst: wire.Group4, TTL: 255}
		for _, s := range e.sockets {
			e.dispatch(s, time.Now())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, e *Engine) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-ended }
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

var vip100 = netip.MustParseAddr("10.9.0.100")

func TestTheOwnerSendsOnTimeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24", "10.9.0.101/32")}}, Options{})
		stop := run(t, e)
		time.Sleep(4700 * time.Millisecond)
		synctest.Wait()
		expect(t, d.take(), "0s INSTANCE VI_1 BACKUP 100",
			"3.609s advert 51 prio 100 id 1", "3.609s add 10.9.0.100/24", "3.609s add 10.9.0.101/32", "3.609s 10 announcements", "3.609s INSTANCE VI_1 MASTER 100",
			"4.609s advert 51 prio 100 id 2")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		expect(t, d.take(), "5.609s advert 51 prio 100 id 3", "6.609s advert 51 prio 100 id 4", "7.609s advert 51 prio 100 id 5",
			"8.609s advert 51 prio 100 id 6", "8.609s 10 announcements")
		hear(t, e, 51, 150, vip100, netip.MustParseAddr("10.9.0.101"))
		synctest.Wait()
		expect(t, d.take(), "8.7s advert 51 prio 100 id 7", "8.7s del 10.9.0.101/32", "8.7s del 10.9.0.100/24", "8.7s INSTANCE VI_1 BACKUP 100")
		stop()
		expect(t, d.take(), "8.7s INSTANCE VI_1 STOP 100")
	})
}

// TestManyMastersBeatInGroups: two hundred instances of one moment are two groups two milliseconds apart from the third advert on.
func TestManyMastersBeatInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &Config{}
		for i := range 200 {
			cfg.Instances = append(cfg.Instances, testInstance(fmt.Sprintf("VI_%d", i), uint8(i+1), 100, fmt.Sprintf("10.9.1.%d/32", i)))
		}
		e, d := fakeEngine(t, cfg, Options{})
		stop := run(t, e)
		for n, want := range []map[string]int{
			{"3.609s": 200}, {"4.609s": 200},
			{"5.609s": 100, "5.611s": 100},
			{"6.609s": 100, "6.611s": 100},
		} {
			time.Sleep(time.Until(d.begin.Add(time.Duration(4100+1000*n) * time.Millisecond)))
			synctest.Wait()
			got := map[string]int{}
			for _, l := range d.take() {
				if at, what, _ := strings.Cut(l, " "); strings.HasPrefix(what, "advert") {
					got[at]++
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("advert %d: %v, want %v", n+1, got, want)
			}
		}
		stop()
	})
}

func TestLeavingCancelsTheSecondBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
		stop := run(t, e)
		time.Sleep(5 * time.Second)
		hear(t, e, 51, 150, vip100)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		n := 0
		for _, l := range d.take() {
			if strings.HasSuffix(l, "announcements") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d bursts, want 1", n)
		}
		stop()
	})
}

func TestAReloadTouchesOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 100, "10.9.0.110/24")
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{one, two}}, Options{})
		stop := run(t, e)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		d.take()
		if err := e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{one, two}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, d.take())
		changed := testInstance("VI_1", 51, 120, "10.9.0.102/24", "10.9.0.100/24")
		fresh := testInstance("VI_3", 53, 100, "10.9.0.120/24")
		if err := e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{changed, fresh}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, d.take(), "4s advert 52 prio 0 id 2", "4s del 10.9.0.110/24", "4s add 10.9.0.102/24", "4s 10 announcements", "4s INSTANCE VI_2 FAULT 100", "4s INSTANCE VI_3 BACKUP 100")
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, d.take(), "4.609s advert 51 prio 120 id 2")
		for name, bad := range map[string]*Config{
			"a VRID twice":      {Instances: []*InstanceConfig{changed, testInstance("VI_9", 51, 100, "10.9.0.99/24")}},
			"a missing device":  {Instances: []*InstanceConfig{changed, func() *InstanceConfig { c := testInstance("VI_9", 9, 9, "10.9.0.9/24"); c.Iface = "none0"; return c }()}},
			"no VRID":           {Instances: []*InstanceConfig{testInstance("VI_1", 0, 100, "10.9.0.100/24")}},
			"a missing member":  {Instances: []*InstanceConfig{changed}, Groups: []*GroupConfig{{Name: "G", Members: []string{"VI_8"}}}},
			"an interval of 0s": {Instances: []*InstanceConfig{func() *InstanceConfig { c := testInstance("VI_1", 51, 1, "10.9.0.1/24"); c.AdvertInt = 0; return c }()}},
		} {
			var se *SetupError
			if err := e.Reload(t.Context(), bad); !errors.As(err, &se) {
				t.Errorf("%s: %v", name, err)
			}
		}
		synctest.Wait()
		expect(t, d.take())
		stop()
	})
}

func TestAGroupMovesAsOneAndTheSyncDaemonFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 90, "10.9.0.110/24")
		sd := &SyncDaemonConfig{Iface: "eth0", Instance: "VI_1"}
		ctl := &fakeSync{}
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{one, two}, Groups: []*GroupConfig{{Name: "G", Members: []string{"VI_1", "VI_2"}}}, SyncDaemon: sd}, Options{Sync: ctl})
		ctl.d = d
		stop := run(t, e)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		expect(t, d.take(), "0s GROUP G BACKUP 0", "0s sync backup 51", "0s INSTANCE VI_1 BACKUP 100", "0s INSTANCE VI_2 BACKUP 90",
			"3.648s advert 52 prio 90 id 1", "3.648s advert 51 prio 100 id 1",
			"3.648s add 10.9.0.110/24", "3.648s add 10.9.0.100/24", "3.648s 10 announcements",
			"3.648s INSTANCE VI_2 MASTER 90", "3.648s INSTANCE VI_1 MASTER 100",
			"3.648s GROUP G MASTER 0", "3.648s sync master 51")
		hear(t, e, 51, 150, vip100)
		synctest.Wait()
		expect(t, d.take(), "4s advert 51 prio 100 id 2", "4s advert 52 prio 90 id 2", "4s del 10.9.0.100/24", "4s del 10.9.0.110/24", "4s INSTANCE VI_1 BACKUP 100", "4s INSTANCE VI_2 BACKUP 90", "4s GROUP G BACKUP 0", "4s sync backup 51")
		e.KeepSync()
		synctest.Wait()
		expect(t, d.take(), "4s sync looked at")
		// A reload with other parameters, without and with them again.
		groups := []*GroupConfig{{Name: "G", Members: []string{"VI_1", "VI_2"}}}
		for _, c := range []struct {
			sd   *SyncDaemonConfig
			want []string
		}{{&SyncDaemonConfig{Iface: "eth1", Instance: "VI_1"}, []string{"4s sync stop", "4s sync backup 51"}}, {&SyncDaemonConfig{Iface: "eth1", Instance: "VI_1"}, nil}, {nil, []string{"4s sync stop"}}, {sd, []string{"4s sync backup 51"}}} {
			if err := e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{one, two}, Groups: groups, SyncDaemon: c.sd}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			expect(t, d.take(), c.want...)
		}
		stop()
		expect(t, d.take(), "4s INSTANCE VI_1 STOP 100", "4s INSTANCE VI_2 STOP 90", "4s GROUP G STOP 0", "4s sync stop")
	})
}

type fakeSync struct{ d *diary }

func (s *fakeSync) Set(_ context.Context, master bool, _ *SyncDaemonConfig, id uint8) error {
	s.d.note("sync %s %d", map[bool]string{true: "master", false: "backup"}[master], id)
	return nil
}

func (s *fakeSync) Keep(context.Context) error { s.d.note("sync looked at"); return nil }

func (s *fakeSync) Stop(context.Context) error { s.d.note("sync stop"); return nil }

func TestAResumedMasterNeverDropsItsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 100, "10.9.0.110/24")}},
			Options{Resume: map[string]bool{"VI_1": true}})
		d.addrs[netip.MustParsePrefix("10.9.0.100/24")] = true
		d.addrs[netip.MustParsePrefix("10.9.0.110/24")] = true
		stop := run(t, e)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		expect(t, d.take(), "0s advert 51 prio 100 id 1", "0s del 10.9.0.110/24", "0s 5 announcements", "0s INSTANCE VI_1 MASTER 100", "0s INSTANCE VI_2 BACKUP 100")
		stop()
	})
}

func TestTrackedScriptsGateTheStartAndChangeThePriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
		c.Track = &TrackConfig{Scripts: []TrackRef{{Name: "must"}, {Name: "nice", Weight: -20, HasWeight: true}}}
		e, d := fakeEngine(t, &Config{Instances: []*InstanceConfig{c}, NotifyPriorityChanges: true}, Options{})
		must, nice := objectKey{trackScript, "must"}, objectKey{trackScript, "nice"}
		e.objects = map[objectKey]*object{must: {}, nice: {}}
		stop := run(t, e)
		tell := func(k objectKey, up bool) {
			t.Helper()
			if err := e.call(t.Context(), func() { e.onObject(k, up, 0, "") }); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, d.take())
		tell(must, true)
		expect(t, d.take(), "1s INSTANCE VI_1 BACKUP 100")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		d.take()
		tell(nice, false)
		expect(t, d.take(), "5s INSTANCE VI_1 MASTER_PRIORITY 80")
		tell(must, false)
		expect(t, d.take(), "5s advert 51 prio 0 id 2", "5s advert 51 prio 0 id 3", "5s del 10.9.0.100/24", "5s INSTANCE VI_1 FAULT 80")
		tell(nice, true)
		tell(must, true)
		expect(t, d.take(), "5s INSTANCE VI_1 BACKUP 100")
		stop()
	})
}

func TestAnInstanceInFaultStaysThereThroughAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
		cfg := &Config{Instances: []*InstanceConfig{c}}
		e, d := fakeEngine(t, cfg, Options{})
		stop := run(t, e)
		if err := e.call(t.Context(), func() { e.onLink(iface{index: 2, name: "eth0"}, false) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.take()
		e.links = func() (map[int]*iface, error) {
			return map[int]*iface{2: {index: 2, name: "eth0", addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}, nil
		}
		if err := e.Reload(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, d.take())
		s, err := e.Snapshot(t.Context())
		if err != nil || s.Instances[0].State != Fault || !slices.Equal(s.Instances[0].Faults, []string{"link eth0 is down"}) {
			t.Errorf("%+v, %v", s.Instances[0], err)
		}
		stop()
	})
}

func TestAThousandInstancesAreSteadyWithoutAllocation(t *testing.T) {
	e := steady(t, 100)
	n := testing.AllocsPerRun(50, func() { e.tick() })
	if n > 0 {
		t.Errorf("%v allocations per tick of 100 masters", n)
	}
}

func TestReceivingAllocatesNothing(t *testing.T) {
	e := steady(t, 1)
	in := e.instances[0]
	src := netip.MustParseAddr("10.9.0.2")
	a := wire.Advert{Version: 2, VRID: 1, Priority: 200, Interval: time.Second, Addrs: in.expect.Addrs}
	data := a.Append(nil, src, in.expect.Group, wire.ChecksumDefault)
	whole := append(wire.AppendIPv4(nil, src, in.expect.Group, wire.TTL, 7, len(data)), data...)
	bad := slices.Clone(whole)
	bad[len(bad)-1] ^= 1
	now := time.Now()
	for name, p := range map[string][]byte{"sound": whole, "refused": bad} {
		hear := func() {
			if r := e.packet.ParseIPv4(p); r != wire.Accepted {
				t.Fatal(r)
			}
			e.dispatch(in.sock, now)
		}
		hear() // the state changes once, the reason is said once
		for e.settle() {
		}
		if n := testing.AllocsPerRun(100, hear); n > 0 {
			t.Errorf("%s: %v allocations per advert", name, n)
		}
	}
	if in.m.State() != machine.Backup || in.stats.AdvertRcvd < 100 || in.stats.Rejected[wire.BadChecksum] < 100 {
		t.Errorf("%s, %+v", in.m.State(), in.stats)
	}
}

// steady makes an engine with n masters whose owner is not running; tick plays its part.
func steady(t testing.TB, n int) *Engine {
	cfg := &Config{}
	for i := range n {
		cfg.Instances = append(cfg.Instances, testInstance(fmt.Sprintf("VI_%d", i), uint8(i%255+1), 100, fmt.Sprintf("10.%d.%d.%d/32", 100+i/65025, i/255%255, i%255)))
		cfg.Instances[i].McastDst = netip.AddrFrom4([4]byte{224, 0, 1, byte(i / 255)})
	}
	o := Options{Log: slog.New(slog.DiscardHandler), Notify: func(Event) {}, Resume: map[string]bool{}}
	for _, c := range cfg.Instances {
		o.Resume[c.Name] = true
	}
	e := newEngine(o)
	e.act = newActuator(&fakeKernel{d: &diary{addrs: map[netip.Prefix]bool{}}}, o)
	e.alarm = newSoftAlarm()
	e.links = func() (map[int]*iface, error) {
		return map[int]*iface{2: {index: 2, name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, up: true, addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}, nil
	}
	e.open = func(key socketKey, _ string) (*socket, error) {
		return &socket{key: key, fd: -1, groups: map[netip.Addr]int{}, send: func(w *batch.Writer) (int, error) { w.Reset(); return 0, nil }}, nil
	}
	next, err := e.prepare(cfg, haves{}, false)
	if err != nil {
		t.Fatal(err)
	}
	e.commit(next)
	e.begin()
	e.settle()
	return e
}

// tick sends the adverts of a second.
func (e *Engine) tick() {
	e.epoch = e.epoch.Add(-time.Second)
	e.runDue()
	e.settle()
}

func BenchmarkTickOf1000Masters(b *testing.B) {
	e := steady(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		e.tick()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/advert")
}

func BenchmarkReceiveAsBackup(b *testing.B) {
	e := steady(b, 1)
	in := e.instances[0]
	src := netip.MustParseAddr("10.9.0.2")
	a := wire.Advert{Version: 2, VRID: 1, Priority: 200, Interval: time.Second, Addrs: in.expect.Addrs}
	e.packet = wire.Packet{Data: a.Append(nil, src, in.expect.Group, wire.ChecksumDefault), Src: src, Dst: in.expect.Group, TTL: 255}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		e.dispatch(in.sock, now)
	}
	if in.stats.AdvertRcvd == 0 {
		b.Fatal("nothing received")
	}
}

func TestTimersThatGoOffLateAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []time.Duration
		cfg := &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}, LateBy: time.Second}
		e, _ := fakeEngine(t, cfg, Options{Late: func(d time.Duration) { late = append(late, d.Round(time.Millisecond)) }})
		stop := run(t, e)
		time.Sleep(10 * time.Second)
		// The process is not run for two seconds.
		if err := e.call(t.Context(), func() { time.Sleep(2 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(late) != 1 || late[0] <= time.Second || late[0] > 2*time.Second {
			t.Errorf("late %v", late)
		}
		stop()
	})
}

func TestTheDelayAtTheStartIsPutBeforeTheDownTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, owner := testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 255, "10.9.0.110/24")
		owner.StartMaster = true
		e, _ := fakeEngine(t, &Config{Instances: []*InstanceConfig{one, owner}, StartupDelay: 4 * time.Second}, Options{})
		stop := run(t, e)
		states := func() string {
			synctest.Wait()
			s, err := e.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(s.Instances[0].State, s.Instances[1].State)
		}
		if got := states(); got != "BACKUP BACKUP" {
			t.Errorf("at the start %s", got)
		}
		time.Sleep(3 * time.Second)
		hear(t, e, 51, 150, vip100) // the timer counts from the end of the delay, not from here
		time.Sleep(3900 * time.Millisecond)
		if got := states(); got != "BACKUP BACKUP" {
			t.Errorf("before delay and down timer are over %s", got)
		}
		time.Sleep(150 * time.Millisecond) // 7.05 s
		if got := states(); got != "BACKUP MASTER" {
			t.Errorf("after those of the owner %s", got)
		}
		time.Sleep(600 * time.Millisecond) // 7.65 s
		if got := states(); got != "MASTER MASTER" {
			t.Errorf("after those of all %s", got)
		}
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		e, _ := fakeEngine(t, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}, StartupDelay: 4 * time.Second},
			Options{Resume: map[string]bool{"VI_1": true}})
		stop := run(t, e)
		synctest.Wait()
		if s, err := e.Snapshot(t.Context()); err != nil || s.Instances[0].State != Master {
			t.Error("who goes on as a master waits again")
		}
		stop()
	})
}
