package healthcheck

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"releve/script"
)

// service is how the reference writes whose checker it is: "[10.1.0.1]:tcp:80", the real server, wherever connect_ip points.
func service(cfg *Config) string {
	if cfg.Server == "" {
		return cfg.ID
	}
	return cfg.Server
}

// checkName is what the reference calls a checker in its log; it does not tell HTTP_GET from SSL_GET.
func checkName(t Type) string {
	switch t {
	case TypeHTTP, TypeSSL:
		return "HTTP_CHECK"
	}
	return t.String()
}

// log writes what the reference says of an attempt: the first verdict and each that differs from the one before, every url that is good
// while the server is not in, and with log_all_failures the failures that do not count yet. What a checker that is down finds, time and
// again, is not worth a line.
func (c *checker) log(cfg *Config, s step, out outcome, url int) {
	l := c.r.o.Log
	if out.ok && cfg.HTTP != nil && url < len(cfg.HTTP.URLs) && (!c.rule.up || s.Report && (!s.First || cfg.Alpha)) {
		u := &cfg.HTTP.URLs[url]
		what := "HTTP status code"
		if u.Digest != "" {
			what = "MD5 digest"
		}
		l.Info(what+" success to "+service(cfg)+" url("+u.Path+")", "checker", cfg.ID)
	}
	all := !out.ok && cfg.LogAllFailures && (s.Retry && c.rule.up || s.Report && !(s.First && cfg.Alpha))
	switch cfg.Type {
	case TypeTCP, TypeUDP, TypePing, TypeHTTP, TypeSSL: // of these also the failure that counts
		if all && s.Report {
			l.Info(retryLine(cfg, out, c.rule.fails), "checker", cfg.ID, "err", out.reason)
		}
	}
	var text string
	switch {
	case s.Report && c.rule.up && (cfg.Type != TypeFile || !s.First):
		text = upLine(cfg)
	case s.Report && !c.rule.up:
		text = downLine(cfg, out, c.retried(cfg, s))
	case all:
		text = retryLine(cfg, out, c.rule.fails)
	}
	switch {
	case text == "":
	case out.ok:
		l.Info(text, "checker", cfg.ID)
	default:
		l.Info(text, "checker", cfg.ID, "err", out.reason)
	}
}

// retried is how many failures did not count before the one that did, in the words of the reference: of web servers and scripts it counts
// the retries also where the first failure counted at once.
func (c *checker) retried(cfg *Config, s step) int {
	switch cfg.Type {
	case TypeHTTP, TypeSSL, TypeMisc:
	default:
		if s.First && !c.rule.stubborn {
			return 0
		}
	}
	return c.rule.retry
}

// upLine is what is logged of a checker that is up; empty if the reference has no words for it.
func upLine(cfg *Config) string {
	switch cfg.Type {
	case TypeTCP:
		return "TCP connection to " + service(cfg) + " success."
	case TypeUDP:
		return "UDP connection to " + service(cfg) + " success."
	case TypePing:
		return "ICMP connection to " + service(cfg) + " success."
	case TypeHTTP, TypeSSL:
		return "Remote Web server " + service(cfg) + " succeed on service."
	case TypeSMTP:
		return "Remote SMTP server " + service(cfg) + " succeed on service."
	case TypeMisc:
		return miscLine(cfg, "succeeded.")
	case TypeFile:
		return fileLine(cfg, "leaving FAULT state")
	case TypeBFD:
		return "BFD check of [" + cfg.BFD + "] RS(" + service(cfg) + ") is UP"
	}
	return ""
}

// downLine is what is logged of a checker that goes down after some retries.
func downLine(cfg *Config, out outcome, retries int) string {
	after := ""
	if retries > 0 {
		after = " after " + strconv.Itoa(retries) + " retries"
	}
	switch cfg.Type {
	case TypePing:
		if retries > 0 {
			return "ICMP CHECK on service " + service(cfg) + " of " + cfg.Virtual + " failed" + after + "."
		}
		return "ICMP CHECK on service " + service(cfg) + " failed."
	case TypeSMTP:
		return "SMTP_CHECK " + out.said
	case TypeDNS:
		return "DNS_CHECK (" + service(cfg) + ") " + out.reason + after
	case TypeMisc:
		if retries == 1 {
			after = " after 1 retry"
		}
		return miscLine(cfg, miscEnd(out, cmp.Or(after, " with retry disabled")))
	case TypeFile:
		return fileLine(cfg, "now FAULT state")
	case TypeBFD:
		return "BFD check of [" + cfg.BFD + "] RS(" + service(cfg) + ") is DOWN"
	}
	return checkName(cfg.Type) + " on service " + service(cfg) + " failed" + after + "."
}

// retryLine is what log_all_failures adds for the nth failure in a row.
func retryLine(cfg *Config, out outcome, nth int) string {
	switch cfg.Type {
	case TypeTCP:
		if out.late {
			return "TCP connection to " + service(cfg) + " timeout."
		}
		return "TCP connection to " + service(cfg) + " failed."
	case TypeUDP:
		return "UDP connection to " + service(cfg) + " failed."
	case TypePing:
		if out.late {
			return "ICMP connection to address " + service(cfg) + " timeout."
		}
		return "ICMP connection to " + service(cfg) + " of " + cfg.Virtual + " failed."
	case TypeMisc:
		if nth > 1 {
			return miscLine(cfg, miscEnd(out, fmt.Sprintf(" on retry %d/%d", nth-1, cfg.Retry)))
		}
		if cfg.Retry == 1 {
			return miscLine(cfg, miscEnd(out, ", will do 1 retry"))
		}
		return miscLine(cfg, miscEnd(out, fmt.Sprintf(", will do %d retries", cfg.Retry)))
	case TypeHTTP, TypeSSL:
		return out.said + " server " + service(cfg) + "."
	case TypeSMTP:
		return "SMTP_CHECK " + out.said
	case TypeDNS:
		return "DNS_CHECK (" + service(cfg) + ") " + out.reason
	}
	return checkName(cfg.Type) + " on service " + service(cfg) + " failed."
}

func miscLine(cfg *Config, how string) string {
	program := ""
	if args := cfg.Misc.Command.Args; len(args) > 0 {
		program = script.RealPath(args[0])
	}
	return "Misc check for [" + service(cfg) + " VS " + cfg.Virtual + "] by [" + program + "] " + how
}

// miscEnd is how a script that was not content ended.
func miscEnd(out outcome, which string) string {
	if out.late {
		return "timed out" + which + "."
	}
	return "failed" + which + " (" + strings.TrimPrefix(out.reason, "script ") + ")."
}

func fileLine(cfg *Config, how string) string {
	return "(" + service(cfg) + "): tracked file " + cfg.File.Name + " " + how
}

// unsure logs once why a check could not be made at all.
func (c *checker) unsure(cfg *Config, out outcome) {
	if c.broken == out.reason || out.reason == errStopped.Error() {
		return
	}
	c.broken = out.reason
	c.r.o.Log.Warn(checkName(cfg.Type)+" on service "+service(cfg)+" could not be tried. Rescheduling.", "checker", cfg.ID, "err", out.reason)
}
