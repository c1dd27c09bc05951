package healthcheck

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/script"
)

func TestTheLogHasTheReferencesLines(t *testing.T) {
	refused, late := outcome{reason: "connect: connection refused", said: "Connection failed"}, outcome{reason: "connect: timeout after 1s", late: true}
	failed := outcome{reason: "script exited with status 10"}
	of := func(typ Type, retry int) *Config {
		c := &Config{ID: "id", Server: "[10.1.0.1]:tcp:80", Virtual: "[10.2.0.1]:tcp:81", Type: typ, Retry: retry}
		switch typ {
		case TypeMisc:
			c.Misc = &MiscConfig{Command: script.Command{Args: []string{"/bin/check", "this"}}}
		case TypeFile:
			c.File = &FileConfig{Name: "F1"}
		case TypeBFD:
			c.BFD = "B1"
		}
		return c
	}
	for _, c := range []struct{ got, want string }{
		{upLine(of(TypeTCP, 1)), "TCP connection to [10.1.0.1]:tcp:80 success."},
		{upLine(of(TypeUDP, 1)), "UDP connection to [10.1.0.1]:tcp:80 success."},
		{upLine(of(TypePing, 1)), "ICMP connection to [10.1.0.1]:tcp:80 success."},
		{upLine(of(TypeSSL, 1)), "Remote Web server [10.1.0.1]:tcp:80 succeed on service."},
		{upLine(of(TypeSMTP, 1)), "Remote SMTP server [10.1.0.1]:tcp:80 succeed on service."},
		{upLine(of(TypeMisc, 1)), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] succeeded."},
		{upLine(of(TypeDNS, 1)), ""},
		{upLine(of(TypeFile, 0)), "([10.1.0.1]:tcp:80): tracked file F1 leaving FAULT state"},
		{upLine(of(TypeBFD, 0)), "BFD check of [B1] RS([10.1.0.1]:tcp:80) is UP"},
		{downLine(of(TypeTCP, 1), refused, 0), "TCP_CHECK on service [10.1.0.1]:tcp:80 failed."},
		{downLine(of(TypeTCP, 2), refused, 2), "TCP_CHECK on service [10.1.0.1]:tcp:80 failed after 2 retries."},
		{downLine(of(TypeHTTP, 1), refused, 1), "HTTP_CHECK on service [10.1.0.1]:tcp:80 failed after 1 retries."},
		{downLine(of(TypePing, 1), late, 0), "ICMP CHECK on service [10.1.0.1]:tcp:80 failed."},
		{downLine(of(TypePing, 1), late, 1), "ICMP CHECK on service [10.1.0.1]:tcp:80 of [10.2.0.1]:tcp:81 failed after 1 retries."},
		{downLine(of(TypeDNS, 3), refused, 3), "DNS_CHECK ([10.1.0.1]:tcp:80) connect: connection refused after 3 retries"},
		{downLine(of(TypeMisc, 0), failed, 0), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] failed with retry disabled (exited with status 10)."},
		{downLine(of(TypeMisc, 1), failed, 1), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] failed after 1 retry (exited with status 10)."},
		{downLine(of(TypeMisc, 2), failed, 2), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] failed after 2 retries (exited with status 10)."},
		{downLine(of(TypeMisc, 0), outcome{reason: "script timed out, killed by signal 15 (terminated)", late: true}, 0), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] timed out with retry disabled."},
		{downLine(of(TypeFile, 0), outcome{}, 0), "([10.1.0.1]:tcp:80): tracked file F1 now FAULT state"},
		{downLine(of(TypeBFD, 0), outcome{}, 0), "BFD check of [B1] RS([10.1.0.1]:tcp:80) is DOWN"},
		{retryLine(of(TypeTCP, 1), refused, 1), "TCP connection to [10.1.0.1]:tcp:80 failed."},
		{retryLine(of(TypeTCP, 1), late, 1), "TCP connection to [10.1.0.1]:tcp:80 timeout."},
		{retryLine(of(TypePing, 1), late, 1), "ICMP connection to address [10.1.0.1]:tcp:80 timeout."},
		{retryLine(of(TypeHTTP, 1), refused, 1), "Connection failed server [10.1.0.1]:tcp:80."},
		{retryLine(of(TypeMisc, 1), failed, 1), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] failed, will do 1 retry (exited with status 10)."},
		{retryLine(of(TypeMisc, 2), failed, 2), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] failed on retry 1/2 (exited with status 10)."},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

// TestFailuresAreSaidInTheReferencesWords makes checks fail in every way. The lines are those that 2.2.7 logged of the same servers.
func TestFailuresAreSaidInTheReferencesWords(t *testing.T) {
	const shake, web = "SSL handshake/communication error connecting to server [10.1.0.1]:tcp:80.", " server [10.1.0.1]:tcp:80."
	full := fullListener(t)
	resets := func(c net.Conn, over <-chan struct{}) { readRequest(c); reset(c, over) }
	for name, c := range map[string]struct {
		at    netip.AddrPort
		typ   Type
		url   URL
		want  string // SMTP: AT stands for the address of the server
		brief bool   // the time limit is the matter
	}{
		"refused":            {at: closedPort(t), typ: TypeHTTP, want: "Connection failed" + web},
		"no room":            {at: full, typ: TypeHTTP, want: "Timeout connecting" + web, brief: true},
		"closed, no data":    {at: serve(t, say("")), typ: TypeHTTP, want: "Read, no data received from " + web},
		"garbage":            {at: serve(t, say("garbage\r\n")), typ: TypeHTTP, want: "Read, no data received from " + web},
		"hangs":              {at: serve(t, hang), typ: TypeHTTP, want: "Timeout WEB read" + web, brief: true},
		"a reset":            {at: serve(t, resets), typ: TypeHTTP, want: "Read error with" + web},
		"status":             {at: serve(t, say(httpAnswer("503 no", "xx"))), typ: TypeHTTP, want: "HTTP status code error to" + web},
		"digest":             {at: serve(t, say(httpAnswer("200 ok", "xx"))), typ: TypeHTTP, url: URL{Digest: strings.Repeat("0", 32)}, want: "MD5 digest error to" + web},
		"regex":              {at: serve(t, say(httpAnswer("200 ok", "xx"))), typ: TypeHTTP, url: URL{Regex: &Regex{Pattern: "foo"}}, want: "Regex match failed" + web},
		"TLS: refused":       {at: closedPort(t), typ: TypeSSL, want: "Connection failed" + web},
		"TLS: no handshake":  {at: serve(t, dialogue("nonsense\r\n")), typ: TypeSSL, want: shake},
		"TLS: hangs":         {at: serve(t, hang), typ: TypeSSL, want: "Timeout connecting" + web, brief: true},
		"SMTP: refused":      {at: closedPort(t), typ: TypeSMTP, want: "SMTP_CHECK Could not connect to server AT"},
		"SMTP: no room":      {at: full, typ: TypeSMTP, want: "SMTP_CHECK Connection timeout to server AT", brief: true},
		"SMTP: greeting":     {at: serve(t, dialogue("421 no\r\n")), typ: TypeSMTP, want: "SMTP_CHECK Bad greeting banner from server AT"},
		"SMTP: HELO":         {at: serve(t, dialogue("220 a\r\n", "500 no\r\n")), typ: TypeSMTP, want: "SMTP_CHECK Bad HELO response from server AT"},
		"SMTP: hangs":        {at: serve(t, hang), typ: TypeSMTP, want: "SMTP_CHECK Read timeout from server AT", brief: true},
		"SMTP: says nothing": {at: serve(t, func(c net.Conn, _ <-chan struct{}) {}), typ: TypeSMTP, want: "SMTP_CHECK Read failure from server AT"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{ID: "id", Server: "[10.1.0.1]:tcp:80", Virtual: "[10.2.0.1]:tcp:81", Type: c.typ, Connect: Connect{Addr: c.at}}
			if c.typ != TypeSMTP {
				c.url.Path = "/"
				cfg.HTTP = &HTTPConfig{URLs: []URL{c.url}}
			}
			limits := []time.Duration{ample}
			if c.brief { // longer ones, if it struck elsewhere because this machine stood still
				limits = []time.Duration{brief, 10 * brief, 100 * brief}
			}
			want := strings.ReplaceAll(c.want, "AT", fmt.Sprintf("[%s]:%d", c.at.Addr(), c.at.Port()))
			got := ""
			for _, cfg.Timeout = range limits {
				if got = retryLine(cfg, check(t, cfg), 1); got == want {
					return
				}
			}
			t.Errorf("got  %s\nwant %s", got, want)
		})
	}
}
