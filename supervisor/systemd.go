package supervisor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// systemd tells the service manager how we are doing (sd_notify(3)). Without NOTIFY_SOCKET it says nothing.
type systemd struct {
	conn *net.UnixConn
	tick <-chan time.Time
}

// newSystemd takes the variables out of the environment: neither children nor scripts speak for us.
func newSystemd() *systemd {
	s := &systemd{}
	name, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(v)
	}
	if name == "" {
		return s
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // a leading @ is the abstract space
	if err != nil {
		return s
	}
	s.conn = conn
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.tick = time.Tick(time.Duration(n) * time.Microsecond / 2)
	}
	return s
}

// send never waits: a manager that does not read must not hold up adverts.
func (s *systemd) send(text string) {
	if s.conn != nil {
		s.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		s.conn.Write([]byte(text))
	}
}

func (s *systemd) ready() { s.send(fmt.Sprintf("READY=1\nMAINPID=%d", os.Getpid())) }

// reloading carries the time that Type=notify-reload asks for.
func (s *systemd) reloading() {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	s.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
}

func (s *systemd) stopping(status int) {
	if status != exitOK {
		s.send(fmt.Sprintf("ERRNO=%d", status))
	}
	s.send("STOPPING=1")
}

func (s *systemd) watchdog() <-chan time.Time { return s.tick }
