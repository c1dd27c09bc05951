package exercise

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// longClient keeps one connection to an echo service open and sends a line every so often.
type longClient struct {
	host, addr string
	every      time.Duration
	end        context.CancelFunc
	done       chan struct{}

	mu     sync.Mutex
	trips  int
	worst  time.Duration
	waits  time.Time // when the line that is under way was sent; zero if none is
	lost   error
	lostAt time.Time
}

// connect opens the connection: connect HOST ADDR:PORT [every D].
func (s *Stage) connect(m *machine, words []string) error {
	c := &longClient{host: m.Name, addr: words[0], every: 100 * time.Millisecond, done: make(chan struct{})}
	if len(words) == 3 && words[1] == "every" {
		d, err := time.ParseDuration(words[2])
		if err != nil {
			return err
		}
		c.every = d
	}
	ctx, cancel := context.WithCancel(context.Background())
	dctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	conn, err := m.Dial(dctx, "tcp", c.addr)
	if err != nil {
		cancel()
		return err
	}
	c.end = func() { cancel(); conn.Close() }
	go c.talk(ctx, conn)
	s.all = append(s.all, &client{host: m.Name, addr: c.addr, long: c, began: time.Now()})
	return nil
}

func (c *longClient) talk(ctx context.Context, conn net.Conn) {
	defer close(c.done)
	r := bufio.NewReader(conn)
	for ctx.Err() == nil {
		sent := time.Now()
		c.mu.Lock()
		c.waits = sent
		c.mu.Unlock()
		_, err := fmt.Fprintf(conn, "line %d\n", c.trips)
		if err == nil {
			_, err = r.ReadString('\n')
		}
		c.mu.Lock()
		c.waits = time.Time{}
		if err != nil {
			if ctx.Err() == nil {
				c.lost, c.lostAt = err, time.Now()
			}
			c.mu.Unlock()
			return
		}
		c.trips++
		c.worst = max(c.worst, time.Since(sent))
		c.mu.Unlock()
		if sleep(ctx, c.every) != nil {
			return
		}
	}
}

func (c *longClient) stop() {
	c.end()
	<-c.done
}

func (c *longClient) summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	how := "it was never cut off"
	if c.lost != nil {
		how = fmt.Sprintf("then it was lost: %v", c.lost)
	}
	return fmt.Sprintf("the connection of %s to %s made %d round trips, the longest %.2f s; %s", c.host, c.addr, c.trips, c.worst.Seconds(), how)
}

// connection judges the open connection: connection alive; connection lost; connection worst D D (between); connection trips N.
func (s *Stage) connection(a Action) (bool, string, bool) {
	var c *longClient
	for _, x := range s.all {
		if x.long != nil {
			c = x.long
		}
	}
	if c == nil {
		return false, "no connection is open", true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := fmt.Sprintf("%d round trips, the longest %.2f s", c.trips, c.worst.Seconds())
	if c.lost != nil {
		seen += ", lost: " + c.lost.Error()
	}
	d := func(i int) (d time.Duration) {
		if i < len(a.Args) {
			d, _ = time.ParseDuration(a.Args[i])
		}
		return d
	}
	switch a.Args[0] {
	case "alive":
		return c.lost == nil && c.waits.IsZero() || c.lost == nil && time.Since(c.waits) < 300*time.Millisecond, seen, c.lost != nil
	case "lost":
		return c.lost != nil, seen, false
	case "worst":
		return c.worst >= d(1) && c.worst <= time.Duration(float64(d(2))*s.o.Patience), seen, false
	case "trips":
		n := 0
		_, _ = fmt.Sscan(a.Args[1], &n)
		return c.trips >= n, seen, c.lost != nil
	}
	return false, "connection alive, lost, worst or trips", true
}
