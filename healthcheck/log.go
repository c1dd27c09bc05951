package healthcheck

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// service is how the reference writes what a checker talks to: "[10.1.0.1]:tcp:80".
func service(cfg *Config) string {
	if !cfg.Addr.IsValid() {
		return cfg.ID
	}
	proto := "tcp"
	switch cfg.Type {
	case TypeUDP, TypeDNS:
		proto = "udp"
	case TypePing:
		return "[" + cfg.Addr.Addr().String() + "]"
	}
	return "[" + cfg.Addr.Addr().String() + "]:" + proto + ":" + strconv.Itoa(int(cfg.Addr.Port()))
}

// checkName is what the reference calls a checker in its log; it does not tell HTTP_GET from SSL_GET.
func checkName(t Type) string {
	switch t {
	case TypeHTTP, TypeSSL:
		return "HTTP_CHECK"
	}
	return t.String()
}

// log writes what an attempt changed, and with log_all_failures every failed one.
func (c *checker) log(cfg *Config, s step, out outcome) {
	l := c.r.o.Log
	switch {
	case s.Report && c.rule.up && !s.First, s.Report && c.rule.up && cfg.Alpha:
		msg := checkName(cfg.Type) + " on service " + service(cfg) + " success."
		switch cfg.Type {
		case TypeTCP:
			msg = "TCP connection to " + service(cfg) + " success."
		case TypeHTTP, TypeSSL:
			msg = "Remote Web server " + service(cfg) + " succeed on service."
		case TypeSMTP:
			msg = "Remote SMTP server " + service(cfg) + " succeed on service."
		case TypeMisc:
			msg = miscLine(cfg, "success", out)
		}
		l.Info(msg, "checker", cfg.ID)
	case s.Report && !c.rule.up:
		msg := checkName(cfg.Type) + " on service " + service(cfg) + " failed"
		if cfg.Retry > 0 && !s.First {
			msg += fmt.Sprintf(" after %d retries", cfg.Retry)
		}
		if cfg.Type == TypeMisc {
			msg = strings.TrimSuffix(miscLine(cfg, "failed", out), ".")
		}
		l.Info(msg+".", "checker", cfg.ID, "err", out.reason)
	case !out.ok && (cfg.LogAllFailures || l.Enabled(nil, slog.LevelDebug)):
		msg := checkName(cfg.Type) + " on service " + service(cfg) + " failed."
		switch cfg.Type {
		case TypeTCP:
			msg = "TCP connection to " + service(cfg) + " failed."
		case TypeMisc:
			msg = miscLine(cfg, "failed", out)
		}
		level := slog.LevelDebug
		if cfg.LogAllFailures {
			level = slog.LevelInfo
		}
		l.Log(nil, level, msg, "checker", cfg.ID, "err", out.reason)
	}
}

func miscLine(cfg *Config, how string, out outcome) string {
	return fmt.Sprintf("Misc check for [%s] by [%s] %s.", cfg.ID, strings.Join(cfg.Misc.Command.Args, " "), how)
}

// unsure logs once why a check could not be made at all.
func (c *checker) unsure(cfg *Config, out outcome) {
	if c.broken == out.reason || out.reason == errStopped.Error() {
		return
	}
	c.broken = out.reason
	c.r.o.Log.Warn(checkName(cfg.Type)+" on service "+service(cfg)+" could not be tried. Rescheduling.", "checker", cfg.ID, "err", out.reason)
}
