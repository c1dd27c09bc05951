package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/healthcheck"
)

// checkersOf are the checkers of a file with one virtual server, by type; lines go into the three levels.
func checkersOf(t *testing.T, virtual, real, checker string) map[healthcheck.Type]*healthcheck.Config {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n script_user root\n}\nvirtual_server 10.0.0.1 80 {\n protocol TCP\n %s\n real_server 10.1.0.1 80 {\n %s\n", virtual, real)
	for _, c := range []string{"TCP_CHECK", "HTTP_GET", "SSL_GET", "SMTP_CHECK", "DNS_CHECK", "UDP_CHECK", "PING_CHECK", "MISC_CHECK"} {
		own := checker
		switch c {
		case "HTTP_GET", "SSL_GET":
			own += "\n url {\n path /\n }"
		case "MISC_CHECK":
			own += "\n misc_path " + script
			own = strings.ReplaceAll(own, "connect_timeout 7", "")
		}
		fmt.Fprintf(&b, " %s {\n %s\n }\n", c, own)
	}
	b.WriteString(" }\n}\n")
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	src, diags := Load(file, LoadOptions{})
	cfg, more := Check(src, CheckOptions{})
	for _, d := range append(diags, more...) {
		t.Logf("%v", d)
	}
	out := map[healthcheck.Type]*healthcheck.Config{}
	for _, c := range cfg.LVS.VirtualServers[0].RealServers[0].Checkers {
		out[c.Type] = c
	}
	if len(out) != 8 {
		t.Fatalf("%d checkers, want 8", len(out))
	}
	return out
}

// TestCheckersInherit is the reference's table: what each checker takes where nothing is said, and that the checker goes over the real
// server and that over the virtual server, for each option and each checker.
func TestCheckersInherit(t *testing.T) {
	const s = time.Second
	none := checkersOf(t, "", "", "")
	for typ, want := range map[healthcheck.Type]struct {
		retry  int
		before time.Duration
	}{healthcheck.TypeTCP: {1, s}, healthcheck.TypeHTTP: {1, 3 * s}, healthcheck.TypeSSL: {1, 3 * s}, healthcheck.TypeSMTP: {1, s}, healthcheck.TypeDNS: {3, 60 * s},
		healthcheck.TypeUDP: {1, s}, healthcheck.TypePing: {1, s}, healthcheck.TypeMisc: {0, s}} {
		c := none[typ]
		if c.Retry != want.retry || c.DelayBeforeRetry != want.before || c.DelayLoop != 60*s || c.Warmup != 60*s || c.Alpha || c.LogAllFailures {
			t.Errorf("%s by default: %+v", typ, c)
		}
		if typ != healthcheck.TypeMisc && c.Timeout != 5*s {
			t.Errorf("%s by default: connect_timeout %v", typ, c.Timeout)
		}
	}
	// What follows from delay_loop.
	for typ, c := range checkersOf(t, "delay_loop 9", "", "") {
		before := map[healthcheck.Type]time.Duration{healthcheck.TypeDNS: 9 * s, healthcheck.TypeHTTP: 3 * s, healthcheck.TypeSSL: 3 * s}[typ]
		if before == 0 {
			before = s
		}
		if c.DelayLoop != 9*s || c.Warmup != 9*s || c.DelayBeforeRetry != before || typ == healthcheck.TypeMisc && c.Misc.Command.Timeout != 9*s {
			t.Errorf("%s with delay_loop 9: %+v", typ, c)
		}
	}
	for name, get := range map[string]func(*healthcheck.Config) string{
		"delay_loop":         func(c *healthcheck.Config) string { return fmt.Sprint(c.DelayLoop.Seconds()) },
		"retry":              func(c *healthcheck.Config) string { return fmt.Sprint(c.Retry) },
		"delay_before_retry": func(c *healthcheck.Config) string { return fmt.Sprint(c.DelayBeforeRetry.Seconds()) },
		"warmup":             func(c *healthcheck.Config) string { return fmt.Sprint(c.Warmup.Seconds()) },
		"connect_timeout":    func(c *healthcheck.Config) string { return fmt.Sprint(c.Timeout.Seconds()) },
	} {
		for _, level := range []struct{ virtual, real, checker, want string }{
			{"5", "", "", "5"}, {"", "6", "", "6"}, {"", "", "7", "7"}, {"5", "6", "", "6"}, {"5", "", "7", "7"}, {"", "6", "7", "7"}, {"5", "6", "7", "7"},
		} {
			say := func(v string) string {
				if v == "" {
					return ""
				}
				return name + " " + v
			}
			for typ, c := range checkersOf(t, say(level.virtual), say(level.real), say(level.checker)) {
				if typ == healthcheck.TypeMisc && name == "connect_timeout" {
					continue // it connects to nobody
				}
				if got := get(c); got != level.want {
					t.Errorf("%s of %s with %q, %q, %q: %s, want %s", name, typ, level.virtual, level.real, level.checker, got, level.want)
				}
			}
		}
	}
	for _, level := range []struct {
		virtual, real, checker string
		want                   bool
	}{{"alpha", "", "", true}, {"", "alpha", "", true}, {"", "", "alpha", true}, {"alpha", "", "alpha no", false}, {"alpha", "alpha no", "", false}, {"", "", "", false}} {
		for typ, c := range checkersOf(t, level.virtual, level.real, level.checker) {
			if c.Alpha != level.want {
				t.Errorf("alpha of %s with %q, %q, %q: %v", typ, level.virtual, level.real, level.checker, c.Alpha)
			}
		}
	}
	// The host of requests: url over checker over real server over virtual server.
	for _, level := range []struct{ virtual, real, checker, want string }{
		{"virtualhost v", "", "", "v"}, {"virtualhost v", "virtualhost r", "", "r"}, {"virtualhost v", "virtualhost r", "virtualhost c", "c"}, {"", "", "", ""},
	} {
		src := fmt.Sprintf("virtual_server 10.0.0.1 80 {\n protocol TCP\n %s\n real_server 10.1.0.1 80 {\n %s\n HTTP_GET {\n %s\n url {\n path /\n }\n url {\n path /u\n virtualhost u\n }\n }\n }\n}\n", level.virtual, level.real, level.checker)
		file := filepath.Join(t.TempDir(), "keepalived.conf")
		if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		text, _ := Load(file, LoadOptions{})
		cfg, _ := Check(text, CheckOptions{})
		h := cfg.LVS.VirtualServers[0].RealServers[0].Checkers[0].HTTP
		if h.VirtualHost != level.want || h.URLs[0].VirtualHost != "" || h.URLs[1].VirtualHost != "u" {
			t.Errorf("%+v: %+v", level, h)
		}
	}
}
