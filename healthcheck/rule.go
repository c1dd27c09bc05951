package healthcheck

import "time"

// rule is the up/down decision of one checker: pure arithmetic over results. It is the reference's:
//
//   - an up checker is down after 1 + retry failures in a row, except that the very first result at the start of the daemon
//     counts at once (SMTP_CHECK: does its retries even then);
//   - a down checker is tried every delay_loop and is up after one success; SMTP_CHECK repeats its retries while down;
//   - HTTP_GET and SSL_GET ask for one url at a time. A bad one takes the server out and is then the only one asked for; once it is
//     good, all of them must be good in a row, from the first, before the server is in again.
type rule struct {
	retry      int
	delayLoop  time.Duration
	retryDelay time.Duration
	downDelay  time.Duration // the pause while down
	urls       int           // 0: not a checker of urls
	fast       bool          // fast_recovery
	stubborn   bool          // SMTP_CHECK

	up       bool
	reported bool // a verdict has been told
	single   bool // the next failure counts at once
	verified bool // all urls have been good once
	proving  bool // all urls are gone through before the checker is up
	url      int  // the url to ask for next
	fails    int  // failures in a row, while they are retried
}

// defaultPause stands in for a delay_loop that is not set: FILE_CHECK has none, and needs one only where files cannot be watched.
const defaultPause = 5 * time.Second

// step is what follows from one result.
type step struct {
	Next   time.Duration // until the next attempt, counted from the end of this one (MISC_CHECK: its start)
	Report bool          // the verdict changed, or is the first
	First  bool
	Retry  bool // a failure that does not count yet
}

// newRule makes the rule for cfg. starting says that the daemon starts, not that a reload added the checker.
func newRule(cfg *Config, starting bool) rule {
	var r rule
	r.configure(cfg)
	r.up = !cfg.Alpha
	r.single = starting && !cfg.Alpha && !r.stubborn
	r.proving = cfg.Alpha
	return r
}

// configure takes over the times and counts of cfg and keeps the state.
func (r *rule) configure(cfg *Config) {
	r.retry = max(cfg.Retry, 0)
	r.delayLoop, r.retryDelay, r.downDelay = cfg.DelayLoop, cfg.DelayBeforeRetry, cfg.DelayLoop
	r.stubborn = cfg.Type == TypeSMTP
	if cfg.Type == TypeFile || cfg.Type == TypeBFD { // told what is, not asked
		r.retry = 0
	}
	if r.delayLoop <= 0 { // never round and round without a pause
		r.delayLoop = defaultPause
		r.downDelay = r.delayLoop
	}
	r.urls, r.fast = 0, false
	if (cfg.Type == TypeHTTP || cfg.Type == TypeSSL) && cfg.HTTP != nil {
		r.urls, r.fast = len(cfg.HTTP.URLs), cfg.HTTP.FastRecovery
		r.downDelay = max(r.delayLoop, r.retryDelay)
		if r.url >= r.urls {
			r.url = 0
		}
	}
}

// result applies one attempt.
func (r *rule) result(ok bool) step {
	if ok {
		return r.good()
	}
	return r.bad()
}

func (r *rule) good() step {
	r.fails, r.single = 0, false
	s := step{Next: r.delayLoop}
	wasUp := r.up
	if r.urls == 0 {
		r.up = true
	} else {
		r.nextURL(&s)
	}
	if r.up && (!wasUp || !r.reported) {
		r.tell(&s)
	}
	return s
}

// nextURL moves on after a good url.
func (r *rule) nextURL(s *step) {
	if r.fast && (!r.up || !r.verified) {
		s.Next = 0
	}
	if !r.up && !r.proving { // the bad one is good again: now all of them
		r.proving, r.url = true, 0
		return
	}
	if r.url++; r.url >= r.urls {
		r.url, r.up, r.verified, r.proving = 0, true, true, false
		s.Next = r.delayLoop
	}
}

func (r *rule) bad() step {
	single := r.single
	r.single = false
	if (r.up || r.stubborn) && !single && r.fails < r.retry {
		r.fails++
		return step{Next: r.retryDelay, Retry: true}
	}
	s := step{Next: r.downDelay}
	r.fails, r.proving = 0, false
	if r.up || !r.reported {
		r.up = false
		r.tell(&s)
	}
	return s
}

func (r *rule) tell(s *step) {
	s.Report, s.First = true, !r.reported
	r.reported = true
}
