package healthcheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileProber is FILE_CHECK: the number in a file, times the weight, is added to the server's weight; with weight 0 the server is up
// while the number is 0.
type fileProber struct{ cfg FileConfig }

func newFileProber(cfg *Config) (*fileProber, error) {
	if cfg.File == nil || cfg.File.Path == "" {
		return nil, errors.New("FILE_CHECK without a track_file")
	}
	return &fileProber{*cfg.File}, nil
}

func (p *fileProber) probe(*attempt, int) outcome {
	v, err := readValue(p.cfg.Path)
	if err != nil {
		return outcome{unsure: true, reason: err.Error()}
	}
	return p.cfg.judge(v)
}

func (f *FileConfig) judge(v int) outcome {
	if f.Weight == 0 {
		if v == 0 {
			return outcome{ok: true}
		}
		return outcome{reason: fmt.Sprintf("value of %s is %d", f.Path, v)}
	}
	if f.Reverse {
		v = -v
	}
	return outcome{ok: true, weight: v * f.Weight, hasWeight: true, reason: fmt.Sprintf("value of %s changes the weight by %d", f.Path, v*f.Weight)}
}

// maxValue bounds what a track_file may say, far beyond any weight.
const maxValue = 1 << 20

// readValue is the number a track_file starts with; a file that does not exist or is empty says 0.
func readValue(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return 0, err
	}
	word, _, _ := bytes.Cut(bytes.TrimLeft(b, " \t\r\n"), []byte("\n"))
	word = bytes.TrimSpace(word)
	if len(word) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(string(word))
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", path, word)
	}
	return max(-maxValue, min(n, maxValue)), nil
}

// fileWatch tells checkers that their file may have changed: one inotify for all, on the folders, so that a file may come, go, and be
// replaced by a rename.
type fileWatch struct {
	f  *os.File
	fd int

	mu     sync.Mutex
	closed bool
	dirs   map[int32]string             // by watch descriptor
	wds    map[string]int32             // by folder
	subs   map[string]map[*checker]bool // by path
}

const fileEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR

func newFileWatch() (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &fileWatch{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, dirs: map[int32]string{}, wds: map[string]int32{}, subs: map[string]map[*checker]bool{}}
	go w.run()
	return w, nil
}

func (w *fileWatch) add(path string, c *checker) error {
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs[path] == nil {
		w.subs[path] = map[*checker]bool{}
	}
	if w.closed {
		return os.ErrClosed
	}
	w.subs[path][c] = true
	wd, err := unix.InotifyAddWatch(w.fd, dir, fileEvents)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	w.dirs[int32(wd)], w.wds[dir] = dir, int32(wd)
	return nil
}

func (w *fileWatch) remove(path string, c *checker) {
	path = filepath.Clean(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs[path], c)
	if w.closed || len(w.subs[path]) > 0 {
		return
	}
	delete(w.subs, path)
	dir := filepath.Dir(path)
	for p := range w.subs {
		if filepath.Dir(p) == dir {
			return
		}
	}
	if wd, ok := w.wds[dir]; ok {
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
		delete(w.wds, dir)
		delete(w.dirs, wd)
	}
}

func (w *fileWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.f.Close()
	}
}

func (w *fileWatch) run() {
	buf := make([]byte, 4096)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := min(unix.SizeofInotifyEvent+int(ev.Len), len(b))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:end], "\x00"))
			w.event(ev.Wd, ev.Mask, name)
			b = b[end:]
		}
	}
}

func (w *fileWatch) event(wd int32, mask uint32, name string) {
	var hit []*checker
	w.mu.Lock()
	if mask&unix.IN_Q_OVERFLOW != 0 { // anything may have changed
		for _, s := range w.subs {
			for c := range s {
				hit = append(hit, c)
			}
		}
	} else if dir, ok := w.dirs[wd]; ok {
		for c := range w.subs[filepath.Join(dir, name)] {
			hit = append(hit, c)
		}
	}
	w.mu.Unlock()
	for _, c := range hit {
		c.changed()
	}
}

// watch has the checker told of changes of its file; without inotify it looks every delay_loop. The runner's mutex is held.
func (r *Runner) watch(path string, c *checker) bool {
	if r.files == nil {
		var err error
		if r.files, err = newFileWatch(); err != nil {
			r.o.Log.Warn("FILE_CHECK looks at its file every delay_loop only", "checker", c.cfg.ID, "err", err)
			return false
		}
	}
	if err := r.files.add(path, c); err != nil {
		r.o.Log.Warn("FILE_CHECK looks at its file every delay_loop only", "checker", c.cfg.ID, "err", err)
		return false
	}
	return true
}

func (r *Runner) unwatch(path string, c *checker) { r.files.remove(path, c) }

// changed makes a FILE_CHECK look at its file: now, or again if it is looking.
func (c *checker) changed() {
	c.att.mu.Lock()
	defer c.att.mu.Unlock()
	switch {
	case c.att.stopped:
	case c.st.Next.IsZero():
		c.arm(0)
	default:
		c.again = true
	}
}

// bfdProber stands for BFD_CHECK, which makes no attempts: sessions tell what they are by Runner.BFD.
type bfdProber struct{}

func (bfdProber) probe(*attempt, int) outcome {
	return outcome{unsure: true, reason: "BFD sessions are not asked"}
}

// BFD tells that a session went up or down; checkers that name it follow at once, and those of a later Set too.
func (r *Runner) BFD(session string, up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions == nil {
		r.sessions = map[string]bool{}
	}
	r.sessions[session] = up
	for _, c := range r.order {
		if c.cfg.Type == TypeBFD && c.cfg.BFD == session {
			c.att.mu.Lock()
			c.session(up)
			c.att.mu.Unlock()
		}
	}
}

// session applies the state of a BFD session; the mutex is held.
func (c *checker) session(up bool) {
	if c.att.stopped {
		return
	}
	out := outcome{ok: up}
	if !up {
		out.reason = "BFD session " + c.cfg.BFD + " is down"
	}
	now := time.Now()
	c.settle(c.cfg, out, now, now)
}
