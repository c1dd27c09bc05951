// Command config measures `keepalived -t` of ours beside the reference's: wall time and peak memory of the whole command on
// generated files.
//
//	go run ./bench/config -releve bin/keepalived -rounds 5
//
// Without the reference its columns stay empty. It needs no privilege; both see the machine's interfaces.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	releve := flag.String("releve", "bin/keepalived", "our binary, by its name keepalived")
	reference := flag.String("reference", "keepalived", "the reference; empty: leave it out")
	rounds := flag.Int("rounds", 5, "runs of each kind, best of which counts")
	limit := flag.Duration("limit", 60*time.Second, "longest run")
	flag.Parse()
	dir, err := os.MkdirTemp("", "releve-bench-config")
	if err != nil {
		fmt.Fprintln(os.Stderr, "config:", err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)

	fmt.Printf("%-28s %9s  %22s  %22s\n", "file", "lines", "releve", "reference")
	for _, k := range []struct{ name, text string }{
		{"real servers, 1k lines", servers(1_000)},
		{"real servers, 10k lines", servers(10_000)},
		{"real servers, 100k lines", servers(100_000)},
		{"1,000 VRRP instances", instances(1_000)},
		{"15,000 VRRP instances", instances(15_000)},
		{"~SEQ to 10,000 instances", sequence(10_000)},
	} {
		name := filepath.Join(dir, "keepalived.conf")
		if err := os.WriteFile(name, []byte(k.text), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "config:", err)
			os.Exit(1)
		}
		fmt.Printf("%-28s %9d  %22s  %22s\n", k.name, strings.Count(k.text, "\n"), measure(*releve, name, *rounds, *limit), measure(*reference, name, *rounds, *limit))
	}
}

// measure runs a configuration test several times and gives the best wall time and the median of peak memory. A run that takes above
// a second is not repeated.
func measure(binary, file string, rounds int, limit time.Duration) string {
	path, err := exec.LookPath(binary)
	if err != nil {
		return "-"
	}
	var best time.Duration
	var peaks []int64
	for range rounds {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		c := exec.CommandContext(ctx, path, "-t", "-n", "-l", "-f", file)
		start := time.Now()
		_ = c.Run() // the status is that of the test: complaints about interfaces that this machine lacks
		took := time.Since(start)
		cancel()
		if ctx.Err() == context.DeadlineExceeded {
			return fmt.Sprintf("above %v", limit)
		}
		if best == 0 || took < best {
			best = took
		}
		if use, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peaks = append(peaks, use.Maxrss)
		}
		if took > time.Second {
			break
		}
	}
	slices.Sort(peaks)
	return fmt.Sprintf("%6.0f ms %6.1f MiB", best.Seconds()*1e3, float64(peaks[len(peaks)/2])/1024)
}

// servers is a file of about n lines: virtual servers with ten real servers and a checker each.
func servers(n int) string {
	var b strings.Builder
	for v := 0; v*75 < n; v++ {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.1 80 {\n  delay_loop 5\n  lvs_sched rr\n  lvs_method NAT\n  protocol TCP\n", v>>8&255, v&255)
		for r := range 10 {
			fmt.Fprintf(&b, "  real_server 172.16.%d.%d 80 {\n    weight 1\n    TCP_CHECK {\n      connect_timeout 3\n      retry 2\n    }\n  }\n", v&255, r+1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

const instance = `vrrp_instance VI_%s {
  interface lo%s
  virtual_router_id %s
  priority 100
  advert_int 1
  virtual_ipaddress {
    10.%s.%s.1/24
  }
}
`

func instances(n int) string {
	var b strings.Builder
	for i := range n {
		s := fmt.Sprint
		fmt.Fprintf(&b, instance, s(i), s(i/255), s(i%255+1), s(i>>8), s(i&255))
	}
	return b.String()
}

func sequence(n int) string {
	return fmt.Sprintf("$BLOCK=\\\n  vrrp_instance VI_$I { \\\n interface lo$I \\\n virtual_router_id 1 \\\n priority 100 \\\n virtual_ipaddress { \\\n 10.0.0.1/24 \\\n } \\\n }\n~SEQ(I, 1, %d) $BLOCK\n", n)
}
