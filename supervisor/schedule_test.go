package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/confparse"
)

func TestReloadTimeFileFormats(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.Local)
	utc := now.UTC()
	tests := []struct {
		name, text string
		want       time.Time // zero: an error
	}{
		{"a time of day to come", "13:30:05", time.Date(2026, 11, 20, 13, 30, 5, 0, time.Local)},
		{"a time of day that has passed is tomorrow's", "11:59:59", time.Date(2026, 11, 21, 11, 59, 59, 0, time.Local)},
		{"a short date", "26-11-21 00:00:00", time.Date(2026, 11, 21, 0, 0, 0, 0, time.Local)},
		{"a long date", "2027-01-02 03:04:05", time.Date(2027, 1, 2, 3, 4, 5, 0, time.Local)},
		{"a long date in UTC", "2027-01-02 03:04:05Z", time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"a time of day in UTC", utc.Add(time.Minute).Format("15:04:05") + "Z", utc.Add(time.Minute)},
		{"the past", "2020-01-02 03:04:05", time.Time{}},
		{"an hour without leading zero", "3:04:05", time.Time{}},
		{"a blank in front", " 13:30:05", time.Time{}},
		{"a blank behind", "13:30:05 ", time.Time{}},
		{"a time that does not exist", "25:00:00", time.Time{}},
		{"nothing", "", time.Time{}},
		{"words", "tomorrow", time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := reloadTime(tt.text, now)
			if (err != nil) != tt.want.IsZero() || !got.Equal(tt.want) {
				t.Errorf("%q: got %v, %v, want %v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestAScheduledReloadStrikesOnceAndDeletesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "at")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.Local)
	s := &schedule{}
	s.configure(&confparse.Global{ReloadTimeFile: path})
	defer s.tick.Stop()
	step := func(what string, at time.Time, want bool, words string) {
		t.Helper()
		got, news := s.due(at)
		if got != want || !strings.Contains(news, words) {
			t.Errorf("%s: strikes %v, %q; want %v, %q", what, got, news, want, words)
		}
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	step("no file", now, false, "")
	put("12:00:10\n")
	step("a file", now, false, "scheduled for 2026-11-20 12:00:10")
	step("before", now.Add(9*time.Second), false, "")
	put("12:00:20\n")
	step("another time", now.Add(10*time.Second), false, "12:00:20")
	step("the time has come", now.Add(20*time.Second), true, "")
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
	step("afterwards", now.Add(21*time.Second), false, "")
	put("12:00:30\n")
	step("a new file", now.Add(22*time.Second), false, "12:00:30")
	os.Remove(path)
	step("removed", now.Add(23*time.Second), false, "cancelled")
	step("its time", now.Add(31*time.Second), false, "")
	put("nonsense\n")
	step("nonsense", now, false, "want HH:MM:SS")
}

func TestWithReloadRepeatItStrikesEveryDay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "at")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.Local)
	if err := os.WriteFile(path, []byte("13:00:00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &schedule{}
	s.configure(&confparse.Global{ReloadTimeFile: path, ReloadRepeat: true})
	defer s.tick.Stop()
	strikes := 0
	for at := now; at.Before(now.AddDate(0, 0, 3)); at = at.Add(10 * time.Minute) {
		if ok, _ := s.due(at); ok {
			strikes++
		}
	}
	if _, err := os.Stat(path); err != nil || strikes != 3 {
		t.Errorf("%d strikes in three days, %v", strikes, err)
	}
}
