package director_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"releve/director"
	"releve/healthcheck"
	"releve/ipvs/memory"
)

// TestEachOfSeveralCheckersKeepsItsState has three checkers on a real server: one good, one bad, one that is bad from the third time on and
// still retried. Each shows its own verdict, reason, latency, attempts, last and next run.
func TestEachOfSeveralCheckersKeepsItsState(t *testing.T) {
	good, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	wobbly, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer wobbly.Close()
	serve := func(l net.Listener, answer func(n int) string) {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			request(c)
			_, _ = io.WriteString(c, answer(n))
			c.Close()
		}
	}
	go serve(good, func(int) string { return "HTTP/1.0 200 OK\r\n\r\n" })
	go serve(wobbly, func(n int) string {
		if n < 2 {
			return "HTTP/1.0 200 OK\r\n\r\n"
		}
		return "HTTP/1.0 503 Later\r\n\r\n"
	})
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	cfg := load(t, fmt.Sprintf(`virtual_server 10.0.0.1 80 {
  delay_loop 0.05
  warmup 0
  protocol TCP
  real_server 127.0.0.1 80 {
    HTTP_GET {
      connect_port %d
      url {
        path /
      }
    }
    TCP_CHECK {
      connect_port 9
    }
    HTTP_GET {
      connect_port %d
      retry 1000000
      delay_before_retry 0.05
      url {
        path /
      }
    }
  }
}
`, port(good), port(wobbly)))
	var d *director.Director
	runner := healthcheck.NewRunner(healthcheck.RunnerOptions{FirstDelay: time.Millisecond, Report: func(r healthcheck.Result) { d.Report(r) }})
	d, err = director.New(cfg, director.Options{Log: slog.New(slog.DiscardHandler), Plane: new(memory.Plane), SetCheckers: runner.Set})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		runner.Wait()
	}()
	var c []director.CheckerStatus
	for range 3000 {
		attempts := runner.Snapshot() // before: what has been told of these attempts is known to the director then
		s, err := d.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Attempts(attempts)
		rs := s.VirtualServers[0].RealServers[0]
		if c = rs.Checkers; len(c) == 3 && c[0].Tries > 4 && c[1].Tries > 4 && c[2].Fails > 2 && c[0].Ran && c[1].Ran && c[2].Ran {
			if rs.Alive || rs.FailedCheckers != 1 {
				t.Errorf("alive %v with %d failed checkers, want down with one", rs.Alive, rs.FailedCheckers)
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i, want := range []struct {
		up                bool
		reason            string
		failures, retried bool
	}{{true, "", false, false}, {false, "connect: connection refused", true, false}, {true, "HTTP status code 503, wanted 200-299", true, true}} {
		s := c[i]
		if s.Up != want.up || s.Reason != want.reason || (s.Failures > 0) != want.failures || (s.Fails > 0) != want.retried {
			t.Errorf("checker %d: %+v, want %+v", i, s, want)
		}
		if s.Latency <= 0 || s.Last.IsZero() || s.Next.Before(s.Last) || s.Tries < s.Failures || s.Tries == 0 || !strings.HasSuffix(s.ID, fmt.Sprintf("#%d", i+1)) {
			t.Errorf("checker %d: %+v", i, s)
		}
	}
}
