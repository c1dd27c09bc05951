package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Result is what a client saw of one request.
type Result struct {
	Start time.Time
	Took  time.Duration
	Body  string // without the line end; empty if it failed
	Err   error
	done  bool
}

// Traffic is a client that asks steadily, whether answers come or not: one request every Every, each for at most Timeout.
type Traffic struct {
	host    *Host
	addr    string
	timeout time.Duration

	mu      sync.Mutex
	results []Result
	stop    context.CancelFunc
	ended   chan struct{}
}

// Traffic starts a client on the host that asks http://addr/ every so often (50 to 100 ms suit), each time on a new connection.
func (h *Host) Traffic(addr string, every, timeout time.Duration) (*Traffic, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Traffic{host: h, addr: addr, timeout: timeout, stop: cancel, ended: make(chan struct{})}
	asks := make(chan int)
	var workers sync.WaitGroup
	for range int(timeout/every) + 2 { // so many can be under way
		workers.Add(1)
		err := h.Thread(func() {
			defer workers.Done()
			for i := range asks {
				t.ask(ctx, i)
			}
		})
		if err != nil {
			cancel()
			close(asks)
			return nil, h.wrap("client", err)
		}
	}
	go func() {
		defer close(t.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				close(asks)
				workers.Wait()
				return
			case <-tick.C:
			}
			t.mu.Lock()
			i := len(t.results)
			t.results = append(t.results, Result{Start: time.Now()})
			t.mu.Unlock()
			select {
			case asks <- i:
			case <-ctx.Done():
			}
		}
	}()
	return t, nil
}

func (t *Traffic) ask(ctx context.Context, i int) {
	t.mu.Lock()
	t.results[i].Start = time.Now()
	start := t.results[i].Start
	t.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, start.Add(t.timeout))
	defer cancel()
	body, err := get(ctx, t.addr)
	if ctx.Err() == context.Canceled { // the client stops: no verdict
		return
	}
	if err != nil && time.Since(start) > t.timeout+overslept { // the client itself was not run meanwhile, and may not have seen the answer
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.results[i]
	r.Took, r.Body, r.Err, r.done = time.Since(start), body, err, true
}

// overslept is how long after its time a request may be given up: a client that does so later stood still, with its machine, and what it
// did not see is no verdict on the service.
const overslept = 100 * time.Millisecond

// get asks once from the network namespace of the calling thread.
func get(ctx context.Context, addr string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", addr); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, 64<<10))
	if err != nil {
		return "", err
	}
	head, body, ok := strings.Cut(string(b), "\r\n\r\n")
	if !ok || !strings.Contains(head, " 200 ") {
		return "", fmt.Errorf("answer %.40q", b)
	}
	return strings.TrimSpace(body), nil
}

// Stop ends the client.
func (t *Traffic) Stop() {
	t.stop()
	<-t.ended
}

// Gap is a time without service: from the start of the first request that failed to the start of the first one after it that
// was answered.
type Gap struct {
	Start    time.Time
	Length   time.Duration
	Requests int
}

// Report sums up a time of the client's life.
type Report struct {
	Asked, Failed int
	By            map[string]int // answers by body
	Gaps          []Gap
	Errors        map[string]int // failures by what the client saw
	Time          time.Duration
}

// Lost is the time without service.
func (r Report) Lost() (d time.Duration) {
	for _, g := range r.Gaps {
		d += g.Length
	}
	return d
}

// Longest is the longest gap.
func (r Report) Longest() (d time.Duration) {
	for _, g := range r.Gaps {
		d = max(d, g.Length)
	}
	return d
}

// Availability is the share of the time with service, 0 to 1. Requests that hang are few, so a share of requests would flatter.
func (r Report) Availability() float64 {
	if r.Time <= 0 {
		return 1
	}
	return 1 - r.Lost().Seconds()/r.Time.Seconds()
}

// Since reports on the requests started since from, in the order in which they started; those still under way are left out.
func (t *Traffic) Since(from time.Time) Report { return t.Between(from, time.Now()) }

// Between reports on the requests started in a time.
func (t *Traffic) Between(from, to time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{By: map[string]int{}, Errors: map[string]int{}, Time: to.Sub(from)}
	down := false
	var last time.Time
	for i := range t.results {
		x := &t.results[i]
		if x.Start.Before(from) || x.Start.After(to) || !x.done {
			continue
		}
		r.Asked++
		last = x.Start
		if x.Err != nil {
			r.Failed++
			r.Errors[reason(x.Err)]++
			if !down {
				down = true
				r.Gaps = append(r.Gaps, Gap{Start: x.Start})
			}
			r.Gaps[len(r.Gaps)-1].Requests++
			continue
		}
		r.By[x.Body]++
		if down {
			down = false
			g := &r.Gaps[len(r.Gaps)-1]
			g.Length = x.Start.Sub(g.Start)
		}
	}
	if down { // it lasts
		g := &r.Gaps[len(r.Gaps)-1]
		g.Length = last.Sub(g.Start)
	}
	return r
}

// reason is the last part of an error: connection refused, i/o timeout, ...
func reason(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		return s[i+2:]
	}
	return s
}

// Last is the last answer that came, and when it was asked for.
func (t *Traffic) Last() (body string, asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.results) - 1; i >= 0; i-- {
		if r := &t.results[i]; r.done && r.Err == nil {
			return r.Body, r.Start
		}
	}
	return "", time.Time{}
}

// Bodies are the answers to the requests since a time, in the order of the requests.
func (t *Traffic) Bodies(since time.Time) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.results {
		if r := &t.results[i]; r.done && r.Err == nil && !r.Start.Before(since) {
			out = append(out, r.Body)
		}
	}
	return out
}
