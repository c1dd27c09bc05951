package healthcheck

import (
	"testing"

	"releve/script"
)

func TestTheLogHasTheReferencesLines(t *testing.T) {
	refused, late := outcome{reason: "connect: connection refused"}, outcome{reason: "connect: timeout after 1s"}
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
		{downLine(of(TypeMisc, 0), outcome{reason: "script timed out, killed by signal 15 (terminated)"}, 0), "Misc check for [[10.1.0.1]:tcp:80 VS [10.2.0.1]:tcp:81] by [/bin/check] timed out with retry disabled."},
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
