package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// layout makes dir/a/b/s.sh, all of it root's and 0755, and returns dir.
func layout(t *testing.T) string {
	t.Helper()
	testneed.Need(t, "root")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/s.sh"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const bob, staff = 4321, 4322

func chown(t *testing.T, p string, uid, gid int) {
	t.Helper()
	if err := os.Lchown(p, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, p string, m os.FileMode) {
	t.Helper()
	if err := os.Chmod(p, m); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, p string) {
	t.Helper()
	if err := os.Symlink(target, p); err != nil {
		t.Fatal(err)
	}
}

func TestUnsafePathsNameTheComponentAndWhatMendsIt(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(t *testing.T, dir string)
		script    string // default a/b/s.sh
		component string
		problem   string
	}{
		"the script is owned by somebody else": {
			change:    func(t *testing.T, d string) { chown(t, d+"/a/b/s.sh", bob, 0) },
			component: "a/b/s.sh", problem: "file",
		},
		"the script is writable by its group": {
			change:    func(t *testing.T, d string) { chown(t, d+"/a/b/s.sh", 0, staff); chmod(t, d+"/a/b/s.sh", 0o775) },
			component: "a/b/s.sh", problem: "is writable by group gid 4322",
		},
		"the script is writable by everybody": {
			change:    func(t *testing.T, d string) { chmod(t, d+"/a/b/s.sh", 0o757) },
			component: "a/b/s.sh", problem: "is writable by everybody",
		},
		"the script's directory is owned by somebody else": {
			change:    func(t *testing.T, d string) { chown(t, d+"/a/b", bob, 0) },
			component: "a/b", problem: "directory",
		},
		"a directory further up is writable by everybody": {
			change:    func(t *testing.T, d string) { chmod(t, d+"/a", 0o777) },
			component: "a", problem: "is writable by everybody",
		},
		"a directory further up is writable by a group": {
			change:    func(t *testing.T, d string) { chown(t, d+"/a", 0, staff); chmod(t, d+"/a", 0o775) },
			component: "a", problem: "is writable by group gid 4322",
		},
		"a symbolic link in a sticky directory is somebody else's": {
			change: func(t *testing.T, d string) {
				chmod(t, d, 0o777|os.ModeSticky)
				symlink(t, d+"/a/b/s.sh", d+"/l")
				chown(t, d+"/l", bob, bob)
			},
			script: "l", component: "l", problem: "symbolic link",
		},
		"a safe link leads into an unsafe directory": {
			change: func(t *testing.T, d string) {
				chmod(t, d+"/a", 0o777)
				if err := os.Mkdir(d+"/safe", 0o755); err != nil {
					t.Fatal(err)
				}
				symlink(t, "../a/./b", d+"/safe/dir")
			},
			script: "safe/dir/s.sh", component: "a", problem: "is writable by everybody",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := layout(t)
			if err := CheckPath(dir + "/a/b/s.sh"); err != nil {
				t.Fatalf("the layout is safe before the change, but: %v", err)
			}
			c.change(t, dir)
			if c.script == "" {
				c.script = "a/b/s.sh"
			}
			script := filepath.Join(dir, c.script)
			err := CheckPath(script)
			var u *UnsafeError
			if !errors.As(err, &u) || !errors.Is(err, ErrUnsafe) {
				t.Fatalf("got %v, want an UnsafeError", err)
			}
			if want := filepath.Join(dir, c.component); u.Component != want {
				t.Errorf("component %s, want %s", u.Component, want)
			}
			for _, part := range []string{"unsafe permissions found for script '" + script + "'", c.problem, u.Fix} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			// The command that the error recommends does mend it.
			if out, e := exec.Command("/bin/sh", "-c", u.Fix).CombinedOutput(); e != nil {
				t.Fatalf("%s: %v %s", u.Fix, e, out)
			}
			if err := CheckPath(script); err != nil {
				t.Errorf("after %q still: %v", u.Fix, err)
			}
		})
	}
}

func TestPathsThatAreSafe(t *testing.T) {
	dir := layout(t)
	symlink(t, "a/b", dir+"/link")
	symlink(t, dir+"/link/../b/s.sh", dir+"/again")
	chmod(t, dir, 0o777|os.ModeSticky)
	for _, p := range []string{dir + "/a/b/s.sh", dir + "/link/s.sh", dir + "/again", dir + "//a/./b/s.sh", "/bin/sh"} {
		if err := CheckPath(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	chown(t, dir+"/a/b/s.sh", bob, 0)
	if err := CheckPath(dir+"/a/b/s.sh", bob); err != nil {
		t.Errorf("bob is trusted, but: %v", err)
	}
}

func TestPathsThatCannotBeJudged(t *testing.T) {
	dir := layout(t)
	symlink(t, dir+"/y", dir+"/x")
	symlink(t, dir+"/x", dir+"/y")
	for _, p := range []string{dir + "/x", dir + "/missing/s.sh", "relative", ""} {
		if err := CheckPath(p); err == nil || errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: got %v, want an error that is not about permissions", p, err)
		}
	}
}

func TestCheckTellsWhatIsWrongWithACommand(t *testing.T) {
	dir := layout(t)
	chmod(t, dir, 0o755)
	chmod(t, filepath.Dir(dir), 0o755)
	ok := dir + "/a/b/s.sh"
	plain := dir + "/a/plain"
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	locked := dir + "/locked"
	if err := os.Mkdir(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(locked+"/s", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		s    Settings
		c    Command
		want error
	}{
		"a good script":                             {Settings{}, Command{Args: []string{ok}}, nil},
		"a good script for nobody":                  {Settings{User: "nobody"}, Command{Args: []string{ok}}, nil},
		"a program found in PATH":                   {Settings{User: "root", Security: true}, Command{Args: []string{"true"}}, nil},
		"a script that does not exist":              {Settings{}, Command{Args: []string{dir + "/no"}}, ErrNotFound},
		"a directory":                               {Settings{}, Command{Args: []string{dir}}, ErrNotFound},
		"no program in PATH":                        {Settings{}, Command{Args: []string{"no-such-program-here"}}, ErrNotFound},
		"an empty word":                             {Settings{}, Command{Args: []string{""}}, ErrNotFound},
		"nothing at all":                            {Settings{}, Command{}, ErrNotFound},
		"a file without x":                          {Settings{}, Command{Args: []string{plain}}, ErrNotExecutable},
		"a directory that the user cannot search":   {Settings{}, Command{Args: []string{locked + "/s"}, User: "nobody"}, ErrNotExecutable},
		"an unknown user":                           {Settings{}, Command{Args: []string{ok}, User: "no-such-user"}, ErrNoAccount},
		"an unknown group":                          {Settings{User: "nobody", Group: "no-such-group"}, Command{Args: []string{ok}}, ErrNoAccount},
		"a number that is no user, without a group": {Settings{User: "4000123"}, Command{Args: []string{ok}}, ErrNoAccount},
		"numbers":                                   {Settings{User: "4000123", Group: "77"}, Command{Args: []string{ok}}, nil},
		"security and no user named":                {Settings{Security: true}, Command{Args: []string{ok}}, ErrNoAccount},
		"security and root":                         {Settings{Security: true, User: "root"}, Command{Args: []string{ok}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path, _, err := c.s.Check(&c.c)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err == nil && !filepath.IsAbs(path) {
				t.Errorf("path %q", path)
			}
		})
	}
	chmod(t, ok, 0o777)
	if _, _, err := (Settings{Security: true, User: "root"}).Check(&Command{Args: []string{ok}}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a script writable by everybody: got %v", err)
	}
	if _, _, err := (Settings{Security: true, User: "nobody"}).Check(&Command{Args: []string{ok}}); err != nil {
		t.Errorf("what does not run as root need not be safe: %v", err)
	}
}

func TestSupplementaryGroupsAreTakenOnlyWhenAskedFor(t *testing.T) {
	for _, c := range []struct {
		user   string
		groups bool
		want   bool
	}{{"root", false, false}, {"root:", false, true}, {"root", true, true}, {"nobody", true, true}, {"nobody", false, false}} {
		a, err := (Settings{User: c.user, Groups: c.groups}).Account(nil)
		if err != nil {
			t.Fatal(err)
		}
		if (len(a.Groups) > 0) != c.want {
			t.Errorf("%q, for all %t: groups %v", c.user, c.groups, a.Groups)
		}
	}
}
