package confparse

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stdin is the standard input on a command line, stdinName what diagnostics call it.
const (
	stdin     = "-"
	stdinName = "<stdin>"
)

// Stream is a configuration that was read from something that gives it once only: the standard input, a pipe.
type Stream struct {
	Name string `json:"name"` // as given; <stdin> for -
	Dir  string `json:"dir"`  // that relative includes are seen from: that of a named pipe, else the working directory
	Text string `json:"text"`
}

// IsStream reports whether path names what can be read once only: the standard input as -, a named pipe, or a descriptor of this
// process (/dev/stdin, /dev/fd/63 as shells write <(command)) that is no regular file.
func IsStream(path string) bool {
	if path == stdin {
		return true
	}
	info, err := os.Stat(path)
	if err != nil || isNull(info) {
		return false
	}
	const flowing = fs.ModeNamedPipe | fs.ModeSocket | fs.ModeCharDevice
	return info.Mode()&fs.ModeNamedPipe != 0 || info.Mode()&flowing != 0 && descriptorOf(path) >= 0
}

// ReadStream reads a stream to its end. It waits for whoever writes it.
func ReadStream(path string) (*Stream, error) {
	s := &Stream{Name: streamName(path)}
	f, err := os.Stdin, error(nil)
	n := descriptorOf(path)
	switch {
	case path == stdin:
	case n >= 0: // not opened anew: a socket cannot be, nor somebody else's pipe
		f, err = duplicate(n, path)
	default:
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	if f != os.Stdin {
		defer f.Close()
	}
	if n >= 0 || path == stdin {
		s.Dir, err = os.Getwd()
	} else if s.Dir, err = filepath.Abs(path); err == nil {
		s.Dir = filepath.Dir(s.Dir)
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(b) > maxFileSize {
		err = errTooLarge
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: s.Name, Err: err}
	}
	s.Text = string(b)
	return s, nil
}

func streamName(path string) string {
	if path == stdin {
		return stdinName
	}
	return path
}

// LoadStream is Load for a stream that was read. The options' Streams has no meaning for it.
func LoadStream(s *Stream, o LoadOptions) (*Source, Diagnostics) {
	l := newLoader(o, usualBounds)
	l.readStream(s)
	return l.src, l.diags
}

// LoadText is Load for a text that is at hand and includes nothing relative; name is what diagnostics call it.
func LoadText(name, text string, o LoadOptions) (*Source, Diagnostics) {
	return LoadStream(&Stream{Name: name, Text: text}, o)
}

func (l *loader) readStream(s *Stream) {
	if len(s.Text) > maxFileSize {
		l.unreadable(s.Name, errTooLarge)
		return
	}
	l.readText(s.Name, s.Dir, s.Text, nil, originFile, Pos{})
}

// descriptorOf is the descriptor of this process that path stands for, -1 for none.
func descriptorOf(path string) int {
	if path == "/dev/stdin" {
		return 0
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if digits, ok := strings.CutPrefix(path, dir); ok {
			if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
				return int(n)
			}
		}
	}
	return -1
}

func duplicate(n int, path string) (*os.File, error) {
	fd, err := syscall.Dup(n)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), path), nil
}
