package logging

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// severityInfo is what the reference logs every line with (RFC 5424 §6.2.1).
const severityInfo = 6

const (
	// syslogPatience is how long one datagram may wait for a syslog daemon that has stopped reading.
	syslogPatience = 100 * time.Millisecond
	// syslogRetry is the pause between two attempts to reach a syslog daemon that is not there.
	syslogRetry = time.Second
)

// syslogConn sends datagrams to a local socket. Where nobody listens, or nobody reads, it gives up on the line, not on the next.
type syslogConn struct {
	path    string
	conn    *net.UnixConn
	nextTry time.Time
	stalled bool
}

// send reports whether the line was handed over, or whether there is simply nobody to take it; false means that it was lost
// to a receiver that did not keep up.
func (s *syslogConn) send(b []byte) bool {
	for range 2 { // a restarted syslog daemon needs a second connection
		if s.conn == nil && !s.dial() {
			return true
		}
		wait := syslogPatience
		if s.stalled {
			wait = time.Millisecond
		}
		s.conn.SetWriteDeadline(time.Now().Add(wait))
		_, err := s.conn.Write(b)
		switch {
		case err == nil:
			s.stalled = false
			return true
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOBUFS):
			s.stalled = true
			return false
		case errors.Is(err, syscall.EMSGSIZE):
			return false
		}
		s.close()
		s.nextTry = time.Time{}
	}
	return true
}

func (s *syslogConn) dial() bool {
	now := time.Now()
	if now.Before(s.nextTry) {
		return false
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		s.nextTry = now.Add(syslogRetry)
		return false
	}
	s.conn, s.stalled = c, false
	return true
}

func (s *syslogConn) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}
