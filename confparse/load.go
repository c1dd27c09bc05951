package confparse

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// LoadOptions steer the source stage.
type LoadOptions struct {
	// ConfigID is -i: which `@id` lines count. Empty: the host name up to its first dot.
	ConfigID string
	// AllConfig is -e: a missing include is a failure.
	AllConfig bool
}

// Bounds of the source stage. They are far above what real files need, and low enough that a file cannot hold the machine.
const (
	maxFileSize     = 64 << 20  // bytes of one file
	maxFiles        = 10_000    // files read
	maxIncludeDepth = 32        // files that include each other
	maxOutput       = 256 << 20 // bytes of expanded text
	maxLines        = 8 << 20   // expanded lines
)

// Load reads the files that path, a glob, names, and expands what they hold: includes, conditional lines, parameters and
// sequences. The Source is never nil; what could not be read or expanded is missing from it and said in the diagnostics.
func Load(path string, o LoadOptions) (*Source, Diagnostics) {
	l := &loader{src: &Source{}, params: map[string]*param{}, id: o.ConfigID, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	if l.id == "" {
		l.id = hostID()
	}
	if o.AllConfig {
		l.check = checkAll
	}
	names, err := expandNames(path)
	switch {
	case err != nil:
		l.fileProblem(Pos{}, "bad-file-name", fmt.Sprintf("configuration file name %s: %v", path, err))
	case len(names) == 0:
		l.fileProblem(Pos{}, "config-missing", fmt.Sprintf("no configuration file matches %s", path))
	}
	for _, name := range names {
		l.readFile(name, name, originFile, Pos{}, "config-unreadable")
	}
	return l.src, l.diags
}

// hostID is the host name up to its first dot, which stands for -i.
func hostID() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// loader is one run of the source stage.
type loader struct {
	src    *Source
	diags  Diagnostics
	id     string
	check  includeCheck
	random *rand.Rand

	params  map[string]*param
	dir     string        // of the file being read
	reading []fs.FileInfo // the files that are open, to refuse recursion
	origins map[origin]int32
	size    int // bytes of expanded text
	full    bool
	def     *definition
}

func (l *loader) report(pos Pos, code Code, message string) {
	l.diags = append(l.diags, Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: message})
}

// fileProblem reports what keeps a file of the command line from being read: a start with it ends, a reload is refused.
func (l *loader) fileProblem(pos Pos, code Code, message string) {
	l.diags = append(l.diags, Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: message, FatalAtStart: true})
}

// originOf returns the number of an origin, the same for equal ones, so that a sequence does not multiply them.
func (l *loader) originOf(o origin) int32 {
	if n, ok := l.origins[o]; ok {
		return n
	}
	if l.origins == nil {
		l.origins = map[origin]int32{}
	}
	n := int32(len(l.src.origins))
	l.src.origins = append(l.src.origins, o)
	l.origins[o] = n
	return n
}

// readFile reads path, shown as name, and expands it. A problem is reported with code; false then.
func (l *loader) readFile(path, name string, kind originKind, via Pos, code Code) bool {
	text, info, err := slurp(path)
	if err != nil {
		l.unreadable(via, name, code, err)
		return false
	}
	for _, other := range l.reading {
		if os.SameFile(info, other) && info.Mode().IsRegular() {
			l.report(via, "include-loop", fmt.Sprintf("%s includes itself", name))
			return false
		}
	}
	if len(l.reading) == maxIncludeDepth || len(l.src.files) == maxFiles {
		l.report(via, "include-limit", fmt.Sprintf("%s is not read: more than %d files deep or %d files", name, maxIncludeDepth, maxFiles))
		return false
	}
	l.src.files = append(l.src.files, file{name: name, text: text})
	o := l.originOf(origin{file: int32(len(l.src.files) - 1), kind: kind, via: via})

	dir := l.dir
	check := l.check
	l.dir = filepath.Dir(path)
	l.reading = append(l.reading, info)
	l.expandFile(o, text)
	l.reading = l.reading[:len(l.reading)-1]
	l.dir, l.check = dir, check
	return true
}

// unreadable reports a file that cannot be read. A file that is there but may not be read sets the status 4 of the reference.
func (l *loader) unreadable(via Pos, name string, code Code, err error) {
	d := Diagnostic{Pos: via, Severity: Error, Code: code, Exit: ExitConfig, FatalAtStart: !via.IsValid(),
		Message: fmt.Sprintf("cannot read %s: %s", name, reason(err))}
	if errors.Is(err, fs.ErrPermission) {
		d.Exit = ExitFatal
	}
	l.diags = append(l.diags, d)
}

// reason is the part of a file error behind the operation and the name.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

var (
	errNoFile   = errors.New("not a regular file")
	errIsDir    = errors.New("is a directory")
	errTooLarge = fmt.Errorf("larger than %d MiB", maxFileSize>>20)
)

// slurp reads a regular file, or /dev/null, which is empty. It does not wait for a FIFO and does not touch devices.
func slurp(path string) (string, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = readable(info) // before opening: to open some devices does things
	}
	if err != nil || isNull(info) {
		return "", info, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		err = readable(info)
	}
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	b.Grow(int(info.Size()))
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if b.Len() > maxFileSize {
			return "", nil, errTooLarge
		}
		if n == 0 || err != nil {
			if err != nil && err != io.EOF {
				return "", nil, err
			}
			return b.String(), info, nil
		}
	}
}

// readable says why a file is none to read a configuration from.
func readable(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return errIsDir
	case isNull(info):
		return nil
	case !info.Mode().IsRegular():
		return errNoFile
	case info.Size() > maxFileSize:
		return errTooLarge
	}
	return nil
}

// isNull reports whether info is the null device.
func isNull(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 1<<8|3
}

// CheckOptions steer the checks.
type CheckOptions struct {
	// NoHost leaves out complaints about this machine (interfaces, scripts, users).
	NoHost bool
	// Test is -t: everything is looked at, nothing is prepared for running.
	Test bool
}
