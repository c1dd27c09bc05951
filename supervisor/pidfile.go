package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errRunning says that another process holds a pid file.
var errRunning = errors.New("already running")

// pidFile is an open, locked pid file. The lock is what says "running"; a file without one is left over and taken.
type pidFile struct {
	path string
	f    *os.File
	left bool // it was there already: its owner did not end in good order
}

// pidDir is where the pid files of named instances, of namespaces and of use_pid_dir are.
const pidDir = "/run/keepalived"

// openDir makes a folder that everybody may look into, whatever the umask (0177 by default): pid files are there to be read. One that
// exists stays as it is.
func openDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// lockPidFile opens path, not following links, and locks it with an open-file-description lock, which survives in the
// process that opened it whatever its threads and children do.
func lockPidFile(path string) (*pidFile, error) {
	if dir := filepath.Dir(path); dir == pidDir {
		if err := openDir(dir); err != nil {
			return nil, fmt.Errorf("folder for pid files: %w", err)
		}
	}
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("pid file: %w", err)
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			f.Close()
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
				return nil, fmt.Errorf("pid file %s: %w", path, errRunning)
			}
			return nil, fmt.Errorf("lock pid file %s: %w", path, err)
		}
		// Its last owner may have removed it between open and lock: then another round.
		if p := (&pidFile{path: path, f: f}); p.there() {
			f.Chmod(0o644)
			if st, err := f.Stat(); err == nil {
				p.left = st.Size() > 0
			}
			return p, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("pid file %s: somebody keeps replacing it", path)
}

// write puts pid into the file. The number replaces the old one in one write; what is longer is cut off after it.
func (p *pidFile) write(pid int) error {
	b := append(strconv.AppendInt(nil, int64(pid), 10), '\n')
	if _, err := p.f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write pid file %s: %w", p.path, err)
	}
	if err := p.f.Truncate(int64(len(b))); err != nil {
		return fmt.Errorf("write pid file %s: %w", p.path, err)
	}
	return nil
}

// remove deletes the file, unless somebody has put another one in its place, and gives up the lock.
func (p *pidFile) remove() {
	if p == nil {
		return
	}
	if p.there() {
		os.Remove(p.path)
		if dir := filepath.Dir(p.path); dir == pidDir {
			os.Remove(dir) // the last one who leaves: while somebody else's files are in it, it stays
		}
	}
	p.f.Close()
}

// there reports whether the path still leads to the file that is locked.
func (p *pidFile) there() bool {
	var here, there unix.Stat_t
	return unix.Fstat(int(p.f.Fd()), &here) == nil && unix.Lstat(p.path, &there) == nil && here.Ino == there.Ino && here.Dev == there.Dev
}

// pidPaths are the four pid files.
type pidPaths struct{ main, vrrp, checkers, bfd string }

// paths gives the pid files: those of the command line, else the defaults that go with namespace, instance and use_pid_dir.
// In a namespace /run/keepalived is the namespace's own folder.
func paths(o *Options, namespace, instance string, usePidDir bool) pidPaths {
	p := pidPaths{"/run/keepalived.pid", "/run/vrrp.pid", "/run/checkers.pid", "/run/bfd.pid"}
	if namespace != "" || instance != "" || usePidDir {
		suffix := ".pid"
		if instance != "" {
			suffix = "_" + instance + ".pid"
		}
		const dir = "/run/keepalived/"
		p = pidPaths{dir + "keepalived" + suffix, dir + "vrrp" + suffix, dir + "checkers" + suffix, dir + "bfd" + suffix}
	}
	for _, f := range []struct {
		to   *string
		from string
	}{{&p.main, o.PidFile}, {&p.vrrp, o.VRRPPidFile}, {&p.checkers, o.CheckersPidFile}, {&p.bfd, o.BFDPidFile}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	// The parent leaves its folder at the start: a relative path means the folder it was started in.
	for _, f := range []*string{&p.main, &p.vrrp, &p.checkers, &p.bfd} {
		if abs, err := filepath.Abs(*f); err == nil {
			*f = abs
		}
	}
	return p
}
