package track

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// File is a track_file: a file with a number in it.
type File struct {
	Name, Path string
}

// maxFile is how much of a file is looked at.
const maxFile = 128

// ErrNoNumber says that there is no whole number in the file.
var ErrNoNumber = errors.New("no whole number")

// ReadFile reads the number. An empty file is 0.
func ReadFile(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(string(bytes.TrimSpace(b)), "\n")
	if word = strings.TrimSpace(word); word == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("%s: %q: %w", path, word, ErrNoNumber)
	}
	return min(max(n, -1<<20), 1<<20), nil
}

// Run reports the number in the file at once and whenever it changes, until ctx is done. Writing in place counts when the writer closes the
// file, since it is empty for a moment before; renaming over it is seen, too. A file that is gone or without a number is reported as 0
// with the error.
func (f File) Run(ctx context.Context, report func(int, error)) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		f.poll(ctx, report)
		return
	}
	// The folder is watched, not the file: a rename puts another inode in its place. Links are only created.
	const events = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CREATE
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(f.Path), events); err != nil {
		unix.Close(fd)
		f.poll(ctx, report)
		return
	}
	in := os.NewFile(uintptr(fd), "inotify")
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	defer in.Close()
	last, said := 0, false
	look := func() {
		n, err := ReadFile(f.Path)
		if !said || n != last || err != nil {
			said, last = true, n
			report(n, err)
		}
	}
	look()
	base := append([]byte(filepath.Base(f.Path)), 0)
	buf := make([]byte, 16384)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], base) || n >= len(buf)/2 {
			look()
		}
	}
}

// poll is for folders that cannot be watched or do not exist yet.
func (f File) poll(ctx context.Context, report func(int, error)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, said := 0, false
	for {
		if n, err := ReadFile(f.Path); !said || n != last {
			said, last = true, n
			report(n, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
