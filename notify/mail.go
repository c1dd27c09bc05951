package notify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// SMTP says how mail is sent. It is off without server or recipients.
type SMTP struct {
	// Server is host:port.
	Server string
	// HeloName defaults to the host name.
	HeloName string
	// Timeout bounds the connect and every answer, default 30 s.
	Timeout time.Duration
	// From and To are addresses, also as "Name <a@b>".
	From string
	To   []string
	// NoFaults is no_email_faults.
	NoFaults bool
}

const (
	mailTimeout = 30 * time.Second
	// mailBacklog bounds the mails that wait.
	mailBacklog = 1000
	mailTries   = 3
	mailPause   = 5 * time.Second
)

// mailer sends one mail after the other. A mail that cannot be delivered is tried three times.
type mailer struct {
	log *slog.Logger
	// dial and now are replaced by tests.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	now  func() time.Time

	mu      sync.Mutex
	router  string
	smtp    SMTP
	queue   []envelope
	last    map[string]string
	busy    bool
	lost    uint64
	ctx     context.Context
	kill    context.CancelFunc
	idle    chan struct{} // closed when the sender ends, nil while there is none
	closing chan struct{} // closed when the daemon stops
	once    sync.Once
}

type envelope struct {
	Mail
	at time.Time
}

func newMailer(log *slog.Logger) *mailer {
	m := &mailer{log: log, last: map[string]string{}, now: time.Now, closing: make(chan struct{})}
	m.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	m.ctx, m.kill = context.WithCancel(context.Background())
	return m
}

func (m *mailer) configure(router string, s SMTP) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Timeout <= 0 {
		s.Timeout = mailTimeout
	}
	m.router, m.smtp = router, s
}

// send queues a mail.
func (m *mailer) send(mail Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.smtp.Server == "" || len(m.smtp.To) == 0 || mail.Fault && m.smtp.NoFaults {
		return
	}
	if mail.Once != "" {
		if m.last[mail.Once] == mail.Subject {
			return
		}
		m.last[mail.Once] = mail.Subject
	}
	if len(m.queue) >= mailBacklog {
		if m.lost++; m.lost == 1 {
			m.log.Warn(fmt.Sprintf("%d mails wait for %s - further ones are dropped", mailBacklog, m.smtp.Server))
		}
		return
	}
	m.queue = append(m.queue, envelope{mail, m.now()})
	if m.idle == nil {
		m.idle = make(chan struct{})
		go m.run(m.idle)
	}
}

// run sends until nothing is left.
func (m *mailer) run(idle chan struct{}) {
	defer close(idle)
	for {
		m.mu.Lock()
		if len(m.queue) == 0 || m.ctx.Err() != nil {
			m.queue, m.idle = nil, nil
			m.mu.Unlock()
			return
		}
		e, s, router := m.queue[0], m.smtp, m.router
		m.queue = m.queue[1:]
		m.lost = 0
		m.mu.Unlock()
		pause := mailPause
		for try := 1; ; try++ {
			err := m.deliver(s, router, e)
			if err == nil {
				m.log.Info("SMTP alert successfully sent.")
				break
			}
			var refused *smtpError
			last := try == mailTries || m.ctx.Err() != nil
			select {
			case <-m.closing: // no time for another one
				last = true
			default:
			}
			if last || errors.As(err, &refused) && refused.code >= 500 {
				m.log.Error("SMTP alert not sent: "+err.Error(), "subject", e.Subject, "err", err)
				break
			}
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-m.closing: // once more, at once
				t.Stop()
			case <-m.ctx.Done():
				t.Stop()
			}
			pause *= 4
		}
	}
}

// close waits for the mails that are on their way until ctx ends. What waits for another try has it now, and none after that.
func (m *mailer) close(ctx context.Context) {
	m.once.Do(func() { close(m.closing) })
	m.mu.Lock()
	idle := m.idle
	m.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	m.kill()
}

// smtpError is a negative answer.
type smtpError struct {
	step, line string
	code       int
}

func (e *smtpError) Error() string { return fmt.Sprintf("%s was answered with %q", e.step, e.line) }

// deliver speaks the reference's dialogue: HELO, MAIL FROM, RCPT TO for each, DATA, QUIT.
func (m *mailer) deliver(s SMTP, router string, e envelope) error {
	ctx, cancel := context.WithTimeout(m.ctx, s.Timeout)
	defer cancel()
	c, err := m.dial(ctx, s.Server)
	if err != nil {
		return fmt.Errorf("connect to SMTP server %s: %w", s.Server, err)
	}
	defer c.Close()
	stop := context.AfterFunc(m.ctx, func() { c.Close() })
	defer stop()
	helo := s.HeloName
	if helo == "" {
		if helo, err = os.Hostname(); err != nil {
			helo = "localhost"
		}
	}
	r := bufio.NewReaderSize(c, 1024)
	talk := func(step, send string, want int) error {
		if err := c.SetDeadline(time.Now().Add(s.Timeout)); err != nil {
			return err
		}
		if send != "" {
			if _, err := c.Write([]byte(send)); err != nil {
				return fmt.Errorf("SMTP server %s, %s: %w", s.Server, step, err)
			}
		}
		return readReply(r, s.Server, step, want)
	}
	if err := talk("connect", "", 220); err != nil {
		return err
	}
	if err := talk("HELO", "HELO "+helo+"\r\n", 250); err != nil {
		return err
	}
	if err := talk("MAIL", "MAIL FROM:<"+address(s.From)+">\r\n", 250); err != nil {
		return err
	}
	for _, to := range s.To {
		if err := talk("RCPT", "RCPT TO:<"+address(to)+">\r\n", 250); err != nil {
			return err
		}
	}
	if err := talk("DATA", "DATA\r\n", 354); err != nil {
		return err
	}
	if err := talk("the message", string(message(s, router, e)), 250); err != nil {
		return err
	}
	_ = talk("QUIT", "QUIT\r\n", 221) // it is delivered already
	return nil
}

// maxReply bounds the lines of one answer.
const maxReply = 100

// readReply reads an answer of one or more lines; its class must be that of want.
func readReply(r *bufio.Reader, server, step string, want int) error {
	for range maxReply {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("SMTP server %s, answer to %s: %w", server, step, err)
		}
		line = bytes.TrimRight(line, "\r\n")
		code := 0
		if len(line) >= 3 {
			for _, c := range line[:3] {
				if c < '0' || c > '9' {
					code = 0
					break
				}
				code = code*10 + int(c-'0')
			}
		}
		if code == 0 || code/100 != want/100 {
			return &smtpError{step, string(line), code}
		}
		if len(line) == 3 || line[3] != '-' {
			return nil
		}
	}
	return fmt.Errorf("SMTP server %s, answer to %s: more than %d lines", server, step, maxReply)
}

// message is header and body with the end mark; the order of the headers is the reference's.
func message(s SMTP, router string, e envelope) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Date: %s\r\n", e.at.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	fmt.Fprintf(&b, "From: %s\r\n", oneLine(s.From))
	fmt.Fprintf(&b, "Subject: [%s] %s\r\n", oneLine(router), oneLine(e.Subject))
	b.WriteString("X-Mailer: Keepalived\r\n")
	to := make([]string, len(s.To))
	for i, t := range s.To {
		to[i] = oneLine(t)
	}
	fmt.Fprintf(&b, "To: %s\r\n", strings.Join(to, ",\r\n "))
	fmt.Fprintf(&b, "\r\n=> %s <=\r\n\r\n.\r\n", oneLine(e.Body))
	return b.Bytes()
}

// oneLine keeps what was configured from ending a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, s)
}

// address is what stands between the angle brackets, else the whole.
func address(s string) string {
	if i := strings.LastIndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			s = s[i+1 : i+j]
		}
	}
	return oneLine(strings.TrimSpace(s))
}
