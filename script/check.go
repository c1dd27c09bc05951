package script

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is wrong with a script. Callers tell them apart with errors.Is, because the reference drops a script for each of them but says
// something else.
var (
	// ErrNotFound: the program does not exist, or is no regular file.
	ErrNotFound = errors.New("not found")
	// ErrNotExecutable: it exists but the account it would run as may not execute it.
	ErrNotExecutable = errors.New("not executable")
	// ErrUnsafe: somebody else than root could change what root would run. The error in the chain is an *UnsafeError.
	ErrUnsafe = errors.New("unsafe permissions")
	// ErrNoAccount: the user or group to run it as is unknown or out of reach, or script security wants one named.
	ErrNoAccount = errors.New("no account to run it as")
)

// UnsafeError names the path component that makes a script unsafe to run as root.
type UnsafeError struct {
	Script    string // the path as configured
	Component string // the offending component, links resolved
	What      string // "directory", "file", "symbolic link" or "special file"
	Problem   string // "is owned by bob (uid 1000)", "is writable by group staff (gid 50)", "is writable by everybody"
	Owner     string // "bob:staff"
	Mode      os.FileMode
	Fix       string // the command that mends it
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("unsafe permissions found for script '%s': %s %s %s (owner %s, mode %04o); mend it with: %s",
		e.Script, e.What, e.Component, e.Problem, e.Owner, unixMode(e.Mode), e.Fix)
}

// Is makes errors.Is(err, ErrUnsafe) true.
func (e *UnsafeError) Is(target error) bool { return target == ErrUnsafe }

func unixMode(m os.FileMode) uint32 {
	v := uint32(m.Perm())
	if m&os.ModeSetuid != 0 {
		v |= 0o4000
	}
	if m&os.ModeSetgid != 0 {
		v |= 0o2000
	}
	if m&os.ModeSticky != 0 {
		v |= 0o1000
	}
	return v
}

// maxLinks bounds the symbolic links followed in one path, as the kernel does.
const maxLinks = 40

// CheckPath reports whether anybody but root and the named owners could change what stands at path: itself, a directory on the way, or a
// symbolic link on the way. Links are followed and the real path is judged, so /bin/sh on a merged-/usr system is fine. A
// directory that everybody may write is fine when it is sticky. The error is an *UnsafeError for the first offending component,
// or the error of the file system.
func CheckPath(path string, owners ...uint32) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("check script %s: %w", path, errors.New("want an absolute path"))
	}
	c := pathCheck{script: path, owners: owners, seen: map[string]bool{}}
	return c.walk("/", path)
}

type pathCheck struct {
	script string
	owners []uint32
	seen   map[string]bool // components judged already
	links  int
}

// walk judges dir, then every component of rest below it, and returns at the first that is wrong.
func (c *pathCheck) walk(dir, rest string) error {
	if err := c.judge(dir); err != nil {
		return err
	}
	ahead := split(rest)
	for len(ahead) > 0 {
		name := ahead[0]
		ahead = ahead[1:]
		switch name {
		case ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		next := filepath.Join(dir, name)
		if err := c.judge(next); err != nil {
			return err
		}
		target, err := os.Readlink(next)
		if err != nil { // no link
			dir = next
			continue
		}
		if c.links++; c.links > maxLinks {
			return fmt.Errorf("check script %s: %w", c.script, unix.ELOOP)
		}
		ahead = append(split(target), ahead...)
		if filepath.IsAbs(target) {
			dir = "/"
		}
	}
	return nil
}

// split cuts a path into its components; unlike filepath.Clean it keeps "..", whose meaning depends on the links before it.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func (c *pathCheck) judge(p string) error {
	if c.seen[p] {
		return nil
	}
	c.seen[p] = true
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return fmt.Errorf("check script %s: %w", c.script, &os.PathError{Op: "lstat", Path: p, Err: err})
	}
	e := &UnsafeError{Script: c.script, Component: p, Mode: fileMode(st.Mode), Owner: ownerString(st.Uid, st.Gid)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.What = "directory"
	case unix.S_IFLNK:
		e.What = "symbolic link"
	case unix.S_IFREG:
		e.What = "file"
	default:
		e.What = "special file"
	}
	switch {
	case !c.trusted(st.Uid):
		e.Problem = "is owned by " + userString(st.Uid)
		e.Fix = "chown root " + quote(p)
		if e.What == "symbolic link" {
			e.Fix = "chown -h root " + quote(p)
		}
	case e.What == "symbolic link": // its mode says nothing
		return nil
	case e.What == "directory" && st.Mode&unix.S_ISVTX != 0:
		return nil
	case st.Mode&unix.S_IWOTH != 0:
		e.Problem, e.Fix = "is writable by everybody", "chmod o-w "+quote(p)
		if st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 {
			e.Fix = "chmod go-w " + quote(p)
		}
	case st.Mode&unix.S_IWGRP != 0 && st.Gid != 0:
		e.Problem, e.Fix = "is writable by group "+groupString(st.Gid), "chmod g-w "+quote(p)
	default:
		return nil
	}
	return e
}

func (c *pathCheck) trusted(uid uint32) bool {
	if uid == 0 {
		return true
	}
	for _, o := range c.owners {
		if o == uid {
			return true
		}
	}
	return false
}

func fileMode(m uint32) os.FileMode {
	v := os.FileMode(m & 0o777)
	if m&unix.S_ISUID != 0 {
		v |= os.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		v |= os.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		v |= os.ModeSticky
	}
	return v
}

// quote makes a path safe to paste into a shell.
func quote(p string) string {
	if strings.IndexFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r))
	}) < 0 {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}

// RealPath is the path of a program with all links resolved, as dumps show it; the name as it is where there is no such program.
func RealPath(name string) string {
	path, err := Find(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return name
	}
	return path
}

// Find returns the absolute path of a program: a name with a slash is taken as it is, one without is looked up in $PATH. The
// error is ErrNotFound, or ErrNotExecutable when only files without an x bit were met.
func Find(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("empty script name: %w", ErrNotFound)
	}
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("script %s: %w", name, err)
		}
		return abs, regular(abs)
	}
	dirs := os.Getenv("PATH")
	if dirs == "" {
		dirs = "/usr/local/bin:/usr/local/sbin:/bin:/usr/bin:/sbin:/usr/sbin"
	}
	err := fmt.Errorf("script %s: %w in PATH", name, ErrNotFound)
	for _, d := range filepath.SplitList(dirs) {
		if !filepath.IsAbs(d) {
			continue
		}
		p := filepath.Join(d, name)
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if st.Mode&0o111 != 0 {
			return p, nil
		}
		err = fmt.Errorf("script %s: %w (mode %04o)", p, ErrNotExecutable, st.Mode&0o7777)
	}
	return "", err
}

func regular(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("script %s: %w: %w", path, ErrNotFound, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("script %s: %w: no regular file", path, ErrNotFound)
	}
	return nil
}

// CheckExec reports whether the account may execute the file at path: every directory on the way must be searchable and the file
// executable for it. The error names the component and is ErrNotFound or ErrNotExecutable.
func CheckExec(path string, a Account) error {
	if err := regular(path); err != nil {
		return err
	}
	for p := filepath.Dir(path); ; p = filepath.Dir(p) {
		if ok, mode := a.may(p, 1); !ok {
			return fmt.Errorf("script %s: %w for uid:gid %d:%d: directory %s has mode %04o", path, ErrNotExecutable, a.UID, a.GID, p, mode)
		}
		if p == "/" {
			break
		}
	}
	if ok, mode := a.may(path, 1); !ok {
		return fmt.Errorf("script %s: %w for uid:gid %d:%d: mode %04o; mend it with: chmod +x %s", path, ErrNotExecutable, a.UID, a.GID, mode, quote(path))
	}
	return nil
}

// Settings are the daemon-wide defaults of scripts. The zero value is the reference's: account keepalived_script if it exists, else the
// daemon's own; no security check.
type Settings struct {
	// User and Group are script_user, as names or numbers.
	User, Group string
	// Security is enable_script_security: what runs as root must not be changeable by anybody else, and without a
	// user named anywhere (and without the user keepalived_script) nothing runs.
	Security bool
	// Groups is set_supplementary_groups: scripts of another user get the groups that the user is in.
	Groups bool
	// KeepLinks is use_symlink_paths: a script is called by the path as it is written. Without it links in its folder are resolved, the
	// last name stays, as the reference does: it is what a script sees as $0.
	KeepLinks bool
}

// Check resolves a command as it would be run: the program found and executable for its account, and safe if that is root and
// security is on. The error can be told by errors.Is: ErrNotFound, ErrNotExecutable, ErrUnsafe, ErrNoAccount; path and account are
// as far as they could be found out.
func (s Settings) Check(c *Command) (path string, a Account, err error) {
	if c.IsZero() {
		return "", Account{}, fmt.Errorf("empty command: %w", ErrNotFound)
	}
	if a, err = s.Account(c); err != nil {
		return c.Args[0], a, fmt.Errorf("script %s: %w", c.Args[0], err)
	}
	if path, err = Find(c.Args[0]); err != nil {
		return c.Args[0], a, err
	}
	if err = a.attainable(); err != nil {
		return path, a, fmt.Errorf("script %s: %w", path, err)
	}
	if err = CheckExec(path, a); err != nil {
		return path, a, err
	}
	if s.Security && a.UID == 0 {
		err = CheckPath(path)
	}
	return s.called(path), a, err
}

// called is the path by which a script is called.
func (s Settings) called(path string) string {
	if s.KeepLinks {
		return path
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}
