package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// envEntered says that the program was executed again inside the namespace it names.
const envEntered = "RELEVE_NAMESPACE"

// netnsDir is where ip-netns(8) keeps its namespaces.
const netnsDir = "/var/run/netns"

// enterNamespace moves the whole program into a network namespace and a mount namespace of its own, where the namespace's folder for
// pid files stands at /run/keepalived. Namespaces belong to threads, so the thread that moved executes the program again:
// on success this does not return.
func enterNamespace(o *Options, name string, daemon bool) error {
	if name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return fmt.Errorf("network namespace %q: not a name", name)
	}
	ns, err := os.Open(filepath.Join(netnsDir, name))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	runtime.LockOSThread() // for good: the thread is no use to anybody else from here on
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("network namespace %s: mount namespace of its own: %w", name, err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	if err := mountRunDir(name); err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	env := append(environ(), envEntered+"="+name)
	if daemon {
		env = append(env, envPart+"="+partDaemon)
		if _, err := unix.FcntlInt(fdUp, unix.F_SETFD, 0); err != nil { // the pipe to the starter goes along
			return fmt.Errorf("pipe to the starter: %w", err)
		}
	} else {
		env = append(env, envPart+"="+partEntered)
	}
	return fmt.Errorf("execute in network namespace %s: %w", name, unix.Exec(self, o.Argv, env))
}

// mountRunDir puts /run/keepalived/NAME over /run/keepalived, for us and our children only.
func mountRunDir(name string) error {
	const base = "/run/keepalived"
	own := filepath.Join(base, name)
	for _, dir := range []string{base, own} {
		if err := openDir(dir); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts of our own: %w", err)
	}
	if err := unix.Mount(own, base, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", own, base, err)
	}
	return nil
}

// leaveRunDir removes the folders that mountRunDir has made, as far as nobody else's files are in them.
func leaveRunDir(name string) {
	if unix.Unmount(pidDir, unix.MNT_DETACH) != nil {
		return
	}
	_ = os.Remove(filepath.Join(pidDir, name))
	_ = os.Remove(pidDir)
}
