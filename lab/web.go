package lab

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Web is a web server that says who it is: it answers every request with its text and closes the connection.
type Web struct {
	host *Host
	addr string
	text string

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	hits  int
	slow  time.Duration
}

// Web starts a web server on the host.
func (h *Host) Web(addr, text string) (*Web, error) {
	w := &Web{host: h, addr: addr, text: text}
	if err := w.Start(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.webs = append(h.webs, w)
	h.mu.Unlock()
	return w, nil
}

// Start lets a stopped server serve again.
func (w *Web) Start() error {
	l, err := w.host.Listen("tcp", w.addr)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.l, w.conns = l, map[net.Conn]bool{}
	w.mu.Unlock()
	go w.serve(l)
	return nil
}

// Stop ends it as a killed process ends: no more connections, and open ones are reset.
func (w *Web) Stop() {
	w.mu.Lock()
	l, conns := w.l, w.conns
	w.l, w.conns = nil, nil
	w.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for c := range conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		c.Close()
	}
}

// Say changes the text of the answers from now on.
func (w *Web) Say(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = text
}

// Slow lets every answer wait from now on; 0 makes the server quick again.
func (w *Web) Slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = d
}

// Hits is the number of requests answered.
func (w *Web) Hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits
}

func (w *Web) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		if w.l != l {
			w.mu.Unlock()
			c.Close()
			return
		}
		w.conns[c] = true
		w.mu.Unlock()
		go w.answer(c)
	}
}

// answer reads one request and writes one answer. The request may be GET /who: the text with the client's address.
func (w *Web) answer(c net.Conn) {
	defer func() {
		c.Close()
		w.mu.Lock()
		delete(w.conns, c)
		w.mu.Unlock()
	}()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReaderSize(c, 4096)
	first := ""
	for i := 0; i < 64; i++ {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if i == 0 {
			first = line
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	w.mu.Lock()
	body, slow := w.text, w.slow
	w.mu.Unlock()
	time.Sleep(slow)
	if strings.HasPrefix(first, "GET /who ") {
		if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			body += " " + a.Addr().Unmap().String()
		}
	}
	w.mu.Lock()
	w.hits++
	w.mu.Unlock()
	fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s\n", len(body)+1, body)
}
