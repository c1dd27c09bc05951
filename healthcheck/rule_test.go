package healthcheck

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const sec = time.Second

func plain(t Type, retry int) *Config {
	return &Config{Type: t, DelayLoop: 10 * sec, Retry: retry, DelayBeforeRetry: 2 * sec}
}

func alpha(c *Config) *Config { c.Alpha = true; return c }

func urls(n int, fast bool) *Config {
	c := plain(TypeHTTP, 1)
	c.DelayBeforeRetry = 12 * sec
	c.HTTP = &HTTPConfig{URLs: make([]URL, n), FastRecovery: fast}
	return c
}

// TestRule plays results (+ good, - bad) and writes after each: the url asked for (if any), the pause, and U or D if the
// verdict is told (u, d for the first).
func TestRule(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    *Config
		reload bool
		in     string
		want   string
	}{
		"a good start tells once":                                  {plain(TypeTCP, 1), false, "+++", "10u 10 10"},
		"at the start one failure is enough":                       {plain(TypeTCP, 3), false, "--+", "10d 10 10U"},
		"up goes down after 1 + retry failures in a row":           {plain(TypeTCP, 2), false, "+--+---+", "10u 2 2 10 2 2 10D 10U"},
		"without retries the first failure counts":                 {plain(TypeMisc, 0), false, "+-+", "10u 10D 10U"},
		"a checker added by a reload does its retries":             {plain(TypeTCP, 1), true, "--", "2 10d"},
		"SMTP does its retries at the start and while down":        {plain(TypeSMTP, 1), false, "----+", "2 10d 2 10 10U"},
		"alpha waits for the first success":                        {alpha(plain(TypeTCP, 1)), false, "--+--", "10d 10 10U 2 10D"},
		"alpha and a good start":                                   {alpha(plain(TypeTCP, 1)), false, "+", "10u"},
		"one url: a returning server needs two good answers":       {urls(1, false), false, "+--++", "0:10u 0:12 0:12D 0:10 0:10U"},
		"one url: bad between the two begins again":                {urls(1, false), false, "-+-++", "0:12d 0:10 0:12 0:10 0:10U"},
		"one url and alpha: one good answer is enough":             {alpha(urls(1, false)), false, "+", "0:10u"},
		"urls take turns":                                          {urls(3, false), false, "++++", "0:10u 1:10 2:10 0:10"},
		"the bad url is the only one tried, then all":              {urls(3, false), false, "+---+++++", "0:10u 1:12 1:12D 1:12 1:10 0:10 1:10 2:10U 0:10"},
		"another bad url while all are gone through":               {urls(2, false), false, "-+" + "+-" + "+++", "0:12d 0:10 0:10 1:12 1:10 0:10 1:10U"},
		"alpha and urls: all are needed":                           {alpha(urls(2, false)), false, "++", "0:10 1:10u"},
		"fast_recovery: no pause while not up":                     {urls(3, true), false, "+++--++++", "0:0u 1:0 2:10 0:12 0:12D 0:0 0:0 1:0 2:10U"},
		"fast_recovery at an alpha start":                          {alpha(urls(2, true)), false, "++", "0:0 1:10u"},
		"fast_recovery waits while the server is bad":              {urls(1, true), false, "--+", "0:12d 0:12 0:0"},
		"a failure at the first url of several counts at once too": {urls(2, false), false, "-", "0:12d"},
		"a good url between failures of another starts the count":  {urls(1, false), false, "+-+-+", "0:10u 0:12 0:10 0:12 0:10"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRule(c.cfg, !c.reload)
			var got []string
			for _, in := range c.in {
				at := ""
				if r.urls > 0 {
					at = fmt.Sprintf("%d:", r.url)
				}
				s := r.result(in == '+')
				v := ""
				if s.Report {
					v = map[bool]string{true: "U", false: "D"}[r.up]
					if s.First {
						v = strings.ToLower(v)
					}
				}
				got = append(got, fmt.Sprintf("%s%d%s", at, s.Next/sec, v))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.in, s, c.want)
			}
		})
	}
}

func TestRuleKeepsItsStateOverAReload(t *testing.T) {
	r := newRule(urls(3, false), true)
	for range 2 {
		r.result(true)
	}
	c := urls(1, false)
	c.Retry, c.DelayLoop = 0, 5*sec
	r.configure(c)
	if !r.up || r.url != 0 {
		t.Errorf("%+v", r)
	}
	if s := r.result(false); !s.Report || s.Next != 12*sec {
		t.Errorf("%+v", s)
	}
}
