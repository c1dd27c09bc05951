package supervisor

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestALogFileThatIsRotatedIsFollowedByANewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.log")
	synctest.Test(t, func(t *testing.T) {
		l, err := openLogFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		say := func(s string) {
			t.Helper()
			if _, err := l.Write([]byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		want := func(name, want string) {
			t.Helper()
			if b, err := os.ReadFile(name); string(b) != want {
				t.Errorf("%s holds %q, want %q (%v)", filepath.Base(name), b, want, err)
			}
		}
		say("a")
		os.Rename(path, path+".1")
		time.Sleep(logFileLook)
		say("b")
		want(path, "b")
		want(path+".1", "a")

		os.WriteFile(path+".new", []byte("old "), 0o600) // logrotate's create
		os.Rename(path+".new", path)
		time.Sleep(logFileLook)
		say("c")
		want(path, "old c")

		os.Truncate(path, 0) // logrotate's copytruncate
		say("d")
		want(path, "d")

		os.Rename(path, path+".2")
		os.Mkdir(path, 0o700) // nothing can be made there
		time.Sleep(logFileLook)
		say("e")
		want(path+".2", "de")
	})
}
