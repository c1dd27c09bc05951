package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"releve/confparse"
)

// lookEvery is how often reload_time_file is looked at.
const lookEvery = time.Second

// schedule is the reload that reload_time_file announces.
type schedule struct {
	path   string
	repeat bool
	text   string // what the file held when it was read last
	seen   bool   // it was there
	at     time.Time
	tick   *time.Ticker
}

// configure follows the configuration in force.
func (s *schedule) configure(g *confparse.Global) {
	if s.path == g.ReloadTimeFile && s.repeat == g.ReloadRepeat {
		return
	}
	if s.tick != nil {
		s.tick.Stop()
	}
	*s = schedule{path: g.ReloadTimeFile, repeat: g.ReloadRepeat}
	if s.path != "" {
		s.tick = time.NewTicker(lookEvery)
	}
}

// c is the channel to wait on; nil without a file to look at.
func (s *schedule) c() <-chan time.Time {
	if s.tick == nil {
		return nil
	}
	return s.tick.C
}

// due looks at the file and reports whether the time has come, and in words what is new.
func (s *schedule) due(now time.Time) (strike bool, news string) {
	b, err := os.ReadFile(s.path)
	text, seen := "", err == nil
	if seen {
		text, _, _ = strings.Cut(string(b), "\n")
	}
	if seen != s.seen || text != s.text {
		s.text, s.seen, s.at = text, seen, time.Time{}
		if !seen {
			return false, "the reload scheduled by " + s.path + " is cancelled"
		}
		at, err := reloadTime(text, now)
		if err != nil {
			return false, fmt.Sprintf("%s: %v", s.path, err)
		}
		s.at = at
		return false, "a reload is scheduled for " + at.Format(time.DateTime)
	}
	if s.at.IsZero() || now.Before(s.at) {
		return false, ""
	}
	s.at = time.Time{}
	if s.repeat {
		if at, err := reloadTime(text, now); err == nil {
			s.at = at
		}
	} else if err := os.Remove(s.path); err != nil {
		news = err.Error()
	} else {
		s.seen, s.text = false, ""
	}
	return true, news
}

// reloadTime reads the first line of reload_time_file: a time of day (the next one), or a date and a time that is to come, local
// unless a Z follows.
func reloadTime(text string, now time.Time) (time.Time, error) {
	loc := time.Local
	line, utc := strings.CutSuffix(text, "Z")
	if utc {
		loc = time.UTC
	}
	now = now.In(loc)
	for _, layout := range []string{"15:04:05", "06-01-02 15:04:05", "2006-01-02 15:04:05"} {
		if len(line) != len(layout) {
			continue
		}
		t, err := time.ParseInLocation(layout, line, loc)
		if err != nil {
			break
		}
		if len(layout) == len("15:04:05") {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, loc)
			if !t.After(now) {
				t = time.Date(now.Year(), now.Month(), now.Day()+1, t.Hour(), t.Minute(), t.Second(), 0, loc)
			}
		}
		if !t.After(now) {
			return time.Time{}, fmt.Errorf("%q is in the past", text)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q: want HH:MM:SS, YY-MM-DD HH:MM:SS or YYYY-MM-DD HH:MM:SS, with a Z for UTC", text)
}

// reading marks the time in which the files are read by reload_file: emptied or made before, removed after.
func reading(g *confparse.Global, pidFile string) (done func(), err error) {
	path := g.ReloadFile
	if path == "" {
		if !g.HasReloadFile {
			return func() {}, nil
		}
		path = filepath.Join(filepath.Dir(pidFile), "keepalived.reload")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return func() {}, fmt.Errorf("reload_file: %w", err)
	}
	f.Close()
	return func() { os.Remove(path) }, nil
}

// writeCheckLog puts the complaints about a file into the log that reload_check_config names, emptied before.
func writeCheckLog(path string, l *loaded) error {
	var b bytes.Buffer
	if err := confparse.WriteText(&b, confparse.Report{Source: l.src, Diagnostics: l.diags}); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("reload_check_config: %w", err)
	}
	return nil
}
