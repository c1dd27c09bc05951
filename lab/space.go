package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// space is a thread that lives in namespaces of its own and does what it is asked to.
type space struct {
	jobs  chan func()
	netns *os.File // keeps the namespace reachable for other threads
	inode uint64
}

func newSpace() (*space, error) {
	s := &space{jobs: make(chan func())}
	up := make(chan error)
	Apart(func() { // the thread ends with the function, and with it its hold on the namespaces
		if err := s.enter(); err != nil {
			up <- err
			return
		}
		up <- nil
		for job := range s.jobs {
			job()
		}
	})
	if err := <-up; err != nil {
		return nil, err
	}
	return s, nil
}

func (s *space) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new network and mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=16m"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// /sys shows the interfaces of the namespace it was mounted in; without the right to mount it the old one stays.
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return fmt.Errorf("network namespace: %w", err)
	}
	s.netns, s.inode = f, st.Ino
	return nil
}

// do runs f on the thread of the namespaces and gives its error.
func (s *space) do(f func() error) error {
	done := make(chan error, 1)
	s.jobs <- func() { done <- f() }
	return <-done
}

// thread runs f in the network namespace, on a further thread that ends with it.
func (s *space) thread(f func()) error {
	up := make(chan error)
	Apart(func() {
		if err := unix.Setns(int(s.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			up <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		up <- nil
		f()
	})
	return <-up
}

// Apart runs f on a thread of its own, which ends with it and may so move to other namespaces. It is never the first thread of the
// process: that one would not end, and /proc shows its namespaces as those of the process.
func Apart(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // without unlocking
		}
		begun := make(chan struct{})
		go func() { // this goroutine holds the first thread, so it is another one
			runtime.LockOSThread()
			close(begun)
			f()
		}()
		<-begun
		runtime.UnlockOSThread()
	}()
}

func (s *space) close() {
	close(s.jobs)
	s.netns.Close()
}
