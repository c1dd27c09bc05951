package healthcheck

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestOnceTellsEachStep reads what a check made by hand says of the conversation.
func TestOnceTellsEachStep(t *testing.T) {
	leakCheck(t)
	flip := func(code byte) func([]byte) []byte {
		return func(q []byte) []byte {
			b := append([]byte{}, q...)
			b[2] |= 0x80
			b[3] |= code
			return b
		}
	}
	for name, c := range map[string]struct {
		cfg  Config
		want []string // the beginning of each step and, behind a tab, what is in it; a failed one begins with "! "
	}{
		"a mail server": {
			Config{Type: TypeSMTP, Connect: Connect{Addr: serve(t, dialogue("220 mail ESMTP\r\n", "250 hello\r\n", "221 bye\r\n"))}},
			[]string{"connect to 127.0.0.1:\taccepted, from 127.0.0.1:", "wait for the greeting\t\"220 mail ESMTP\"", "say \"HELO smtpchecker.keepalived.org\"\t\"250 hello\"", "say \"QUIT\"\t\"221 bye\""},
		},
		"a mail server that draws on the terminal": {
			Config{Type: TypeSMTP, Connect: Connect{Addr: serve(t, dialogue("220 \x1b[2J\u202e"+strings.Repeat("y", 3000)+"\r\n", "501 \x1b[31mno\r\n"))}},
			[]string{"connect to", "wait for the greeting\t\"220 \\x1b[2J\\u202eyyy", "! say \"HELO\tHELO: answer \"501 \\x1b[31mno\""},
		},
		"a mail server that refuses": {Config{Type: TypeSMTP, Connect: Connect{Addr: closedPort(t)}}, []string{"! connect to the mail server\tconnection refused"}},
		"a mail server that hangs":   {Config{Type: TypeSMTP, Connect: Connect{Addr: serve(t, hang)}}, []string{"connect to", "! wait for the greeting\ttimeout after 300ms"}},
		"two mail servers": {
			Config{Type: TypeSMTP, SMTP: &SMTPConfig{Hosts: []Connect{{Addr: serve(t, dialogue("220 a\r\n", "250 a\r\n", "221 a\r\n"))}, {Addr: serve(t, dialogue("421 b\r\n"))}}}},
			[]string{"connect to", "wait", "say", "say", "connect to", "! wait for the greeting\tanswer \"421 b\", wanted \"220 \""},
		},
		"a name server": {
			Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, flip(0))}, DNS: &DNSConfig{Name: "www.example.org", Type: 28}},
			[]string{"ask 127.0.0.1:\tsent, from 127.0.0.1:", "answer\tquestion 1, answer 0"},
		},
		"a name server that has no such name": {
			Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, flip(3))}},
			[]string{"ask 127.0.0.1:", "! answer\tquestion 1, answer 0, authority 0, additional 0: DNS answer has code 3 (NXDOMAIN)"},
		},
		"a name server that sends garbage": {
			Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return []byte("\x1b[2J") })}},
			[]string{"ask", "pass over\t4 bytes: 1b5b324a: DNS answer of 4 bytes, shorter than a header", "! wait for an answer\twaiting for an answer: timeout after 300ms"},
		},
		"a name server that is silent": {
			Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return nil })}},
			[]string{"ask", "! wait for an answer\ttimeout after 300ms"},
		},
		"a datagram answered": {
			Config{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return []byte{0xca, 0xfe} })}, UDP: &UDPConfig{Payload: []byte("abc"), RequireReply: true}},
			[]string{"send 3 bytes to 127.0.0.1\tsent, from", "reply\t2 bytes: cafe"},
		},
		"a datagram answered wrongly": {
			Config{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return []byte{0xca, 0xfe} })}, UDP: &UDPConfig{RequireReply: true, Reply: []byte{0xca, 0xff}}},
			[]string{"send 32 bytes", "! reply\t2 bytes: cafe: reply differs at byte 1"},
		},
		"a datagram into silence": {
			Config{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return nil })}},
			[]string{"send 32 bytes", "wait for a reply\tnothing for 300ms, no ICMP error: good"},
		},
		"a datagram to a closed port": {Config{Type: TypeUDP, Connect: Connect{Addr: closedUDP(t)}}, []string{"send 32 bytes", "! wait for a reply\tconnection refused"}},
		"a connection":                {Config{Type: TypeTCP, Connect: Connect{Addr: serve(t, func(net.Conn, <-chan struct{}) {})}}, []string{"connect to 127.0.0.1:\taccepted, from 127.0.0.1:"}},
	} {
		t.Run(name, func(t *testing.T) {
			// See expect: where the limit struck elsewhere than wanted, ten times of it.
			for limit := brief; ; limit *= 10 {
				cfg := c.cfg
				cfg.Timeout = limit
				v, err := Once(context.Background(), &cfg, RunnerOptions{})
				if err != nil {
					t.Fatal(err)
				}
				wrong, good, struck := []string{}, true, false
				for i, s := range v.Steps {
					line := s.Did
					if !s.OK {
						line, good = "! "+line, false
					}
					struck = struck || strings.Contains(s.Saw, "timeout after") || strings.Contains(s.Saw, "nothing for ")
					want := "(nothing)"
					if i < len(c.want) {
						want = strings.ReplaceAll(c.want[i], brief.String(), limit.String())
					}
					did, saw, _ := strings.Cut(want, "\t")
					if !strings.HasPrefix(line, did) || !strings.Contains(s.Saw, saw) {
						wrong = append(wrong, fmt.Sprintf("step %d: %s: %s\nwant %s: %s", i, line, s.Saw, did, saw))
					}
					if len(s.Saw) > maxSaw+10 || strings.ContainsAny(s.Saw+s.Did, "\x1b\n\r\u202e") {
						t.Errorf("step %d says %d bytes: %q", i, len(s.Saw), s.Saw)
					}
				}
				if len(v.Steps) != len(c.want) || v.OK != good {
					wrong = append(wrong, fmt.Sprintf("%d steps, want %d; OK %v", len(v.Steps), len(c.want), v.OK))
				}
				if len(wrong) == 0 {
					return
				}
				if !struck || limit >= 100*brief {
					t.Fatal(strings.Join(wrong, "\n"))
				}
				t.Logf("with a limit of %v: %s", limit, strings.Join(wrong, "\n"))
			}
		})
	}
}

func TestTheQuestionIsTold(t *testing.T) {
	for name, want := range map[string]string{".": ". SOA, id 0, 17 bytes", "www.example.org": "www.example.org. TYPE99, id 0, 33 bytes"} {
		typ := uint16(6)
		if name != "." {
			typ = 99
		}
		q, err := dnsQuestion(name, typ)
		if got := dnsAsked(q); err != nil || got != want {
			t.Errorf("%q, want %q (%v)", got, want, err)
		}
	}
}

func TestAPingIsTold(t *testing.T) {
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up")
	v, err := Once(context.Background(), &Config{Type: TypePing, Connect: Connect{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Timeout: ample}}, RunnerOptions{})
	if err != nil || !v.OK || len(v.Steps) != 2 || !strings.Contains(v.Steps[0].Did, "echo request of 136 bytes to 127.0.0.1, sequence 1") || !strings.Contains(v.Steps[1].Saw, "sequence 1") {
		t.Errorf("%v %+v", err, v)
	}
}

func FuzzStepsAreBounded(f *testing.F) {
	f.Add([]byte("\x1b[2J"), "\x9b\u2028")
	f.Add([]byte{0, 0, 0x80, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0}, "a")
	f.Fuzz(func(t *testing.T, b []byte, s string) {
		for _, got := range []string{dnsSaw(b), printable(s), quoted(b)} {
			if len(printable(got)) > maxSaw+16 || strings.ContainsAny(printable(got), "\x1b\n\r\u2028") {
				t.Errorf("%q", got)
			}
		}
	})
}
