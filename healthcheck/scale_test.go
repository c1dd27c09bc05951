package healthcheck

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRunner runs many checkers once a second for ten seconds and reports what a check costs this process, what memory it holds and
// how late the attempts begin. One iteration is enough: go test -run - -bench Runner -benchtime 1x.
func BenchmarkRunner(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(netip.AddrPort) *Config
	}{
		{"TCP", func(a netip.AddrPort) *Config { return &Config{Type: TypeTCP, Connect: Connect{Addr: a}} }},
		{"HTTP", func(a netip.AddrPort) *Config { return get(a, URL{Path: "/", Digest: Hash([]byte("hello\n"))}) }},
	} {
		for _, n := range []int{500, 2000, 5000, 10000} {
			b.Run(fmt.Sprintf("%s-%d", c.name, n), func(b *testing.B) { benchRunner(b, n, c.make) })
		}
	}
}

func benchRunner(b *testing.B, n int, make func(netip.AddrPort) *Config) {
	port := startServer(b).Port()
	for b.Loop() {
		var bad atomic.Int64
		r := NewRunner(RunnerOptions{Report: func(r Result) {
			if !r.Up {
				bad.Add(1)
			}
		}})
		cfgs := []*Config{}
		for i := range n {
			// An address each: the tuples of closed connections rest for a minute.
			cfg := make(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), port))
			cfg.ID, cfg.Timeout, cfg.DelayLoop, cfg.Warmup, cfg.DelayBeforeRetry = strconv.Itoa(i), 5*time.Second, time.Second, time.Second, time.Second
			cfgs = append(cfgs, cfg)
		}
		ctx, cancel := context.WithCancel(context.Background())
		r.Set(ctx, cfgs)
		time.Sleep(3 * time.Second)
		before, begin, checks := cpu(), time.Now(), attempts(r)
		var late []time.Duration
		for range 10 {
			time.Sleep(time.Second)
			for _, s := range r.Snapshot() {
				late = append(late, s.Late)
			}
		}
		spent, took, done := cpu()-before, time.Since(begin), attempts(r)-checks
		cancel()
		r.Wait()
		slices.Sort(late)
		b.ReportMetric(float64(spent.Microseconds())/float64(done), "cpu-µs/check")
		b.ReportMetric(float64(done)/took.Seconds(), "checks/s")
		b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1e3, "late-p99-ms")
		b.ReportMetric(float64(bad.Load()), "false-negatives")
		b.ReportMetric(residentMiB(), "RSS-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

func attempts(r *Runner) (n uint64) {
	for _, s := range r.Snapshot() {
		n += s.Attempts
	}
	return n
}

// residentMiB is the resident memory of this process.
func residentMiB() float64 {
	runtime.KeepAlive(0)
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}
