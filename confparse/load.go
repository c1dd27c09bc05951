package confparse

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// LoadOptions steer the source stage.
type LoadOptions struct {
	// ConfigID is -i: which `@id` lines count. Empty: the host name up to its first dot.
	ConfigID string
	// AllConfig is -e: a missing include is a failure.
	AllConfig bool
	// Streams allows path to be a stream (IsStream), which a daemon could not read again at its next reload.
	Streams bool
}

// Bounds of the source stage. They are far above what real files need, and low enough that a file cannot hold the machine.
const (
	maxFileSize     = 64 << 20 // bytes of all files together
	maxFiles        = 10_000   // files read
	maxIncludeDepth = 32       // files that include each other
	maxOrigins      = 1 << 18  // places that parameters were used at
	maxSteps        = 1 << 20  // rounds of one sequence
)

// bounds are the ones that together limit time and memory.
type bounds struct {
	output int // bytes of expanded text
	lines  int // expanded lines
	work   int // bytes moved by substitutions
}

var usualBounds = bounds{output: 64 << 20, lines: 2 << 20, work: 1 << 29}

// Load reads the files that path, a glob, names, and expands what they hold: includes, conditional lines, parameters and
// sequences. The Source is never nil; what could not be read or expanded is missing from it and said in the diagnostics.
func Load(path string, o LoadOptions) (*Source, Diagnostics) { return load(path, o, usualBounds) }

func load(path string, o LoadOptions, max bounds) (*Source, Diagnostics) {
	l := newLoader(o, max)
	if o.Streams && IsStream(path) {
		if s, err := ReadStream(path); err != nil {
			l.unreadable(streamName(path), err)
		} else {
			l.readStream(s)
		}
		return l.src, l.diags
	}
	names, _, err := expandNames("", path)
	switch {
	case err != nil:
		l.fileProblem("bad-file-name", fmt.Sprintf("configuration file name %s: %v", path, err))
	case len(names) == 0 && path == stdin:
		l.fileProblem("config-missing", "no configuration file matches -: the standard input is nothing that a reload could read again")
	case len(names) == 0:
		l.fileProblem("config-missing", fmt.Sprintf("no configuration file matches %s", path))
	}
	for _, name := range names {
		if err := l.readFile(name, originFile, Pos{}); err != nil {
			l.unreadable(name, err)
		}
	}
	return l.src, l.diags
}

func newLoader(o LoadOptions, max bounds) *loader {
	l := &loader{max: max, src: &Source{}, params: map[string]*param{}, id: o.ConfigID, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	if l.id == "" {
		l.id = hostID()
	}
	if o.AllConfig {
		l.check = checkAll
	}
	return l
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
	max    bounds
	check  includeCheck
	random *rand.Rand

	params     map[string]*param
	dir        string        // of the file being read
	reading    []fs.FileInfo // the files that are open, to refuse recursion
	origins    map[origin]int32
	segs       []seg       // of the value that is being put into a line
	def        *definition // that goes on in the next line
	inGlobal   bool        // within global_defs
	read       int         // bytes of files
	size, work int         // bytes of expanded text, and what it took to make it
	full       bool        // a bound was reached: nothing more is read
}

func (l *loader) report(pos Pos, code Code, message string) {
	l.diags = append(l.diags, Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: message})
}

// warn says something that leaves the status of a configuration test alone.
func (l *loader) warn(pos Pos, code Code, message string) {
	l.diags = append(l.diags, Diagnostic{Pos: pos, Severity: Warning, Code: code, Message: message})
}

// fileProblem reports what keeps a configuration from being read at all: a start with it ends, a reload is refused.
func (l *loader) fileProblem(code Code, message string) {
	l.diags = append(l.diags, Diagnostic{Severity: Error, Code: code, Exit: ExitConfig, Message: message, FatalAtStart: true})
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
	if n == maxOrigins {
		l.stop(o.via, "parameters are used in too many places")
		return n - 1
	}
	l.src.origins = append(l.src.origins, o)
	l.origins[o] = n
	return n
}

// readFile reads and expands a file.
func (l *loader) readFile(path string, kind originKind, via Pos) error {
	text, info, err := slurp(path, maxFileSize-l.read)
	if err != nil {
		return err
	}
	for _, other := range l.reading {
		if os.SameFile(info, other) && info.Mode().IsRegular() {
			return errLoop
		}
	}
	if len(l.reading) == maxIncludeDepth || len(l.src.files) == maxFiles {
		return errTooMany
	}
	l.readText(path, filepath.Dir(path), text, info, kind, via)
	return nil
}

// usualLine is what a line of a large file takes, in bytes.
const usualLine = 16

// readText expands the text of a file; info is nil for one that is none. Relative includes are seen from inDir.
func (l *loader) readText(path, inDir, text string, info fs.FileInfo, kind originKind, via Pos) {
	l.read += len(text)
	l.src.files = append(l.src.files, file{name: path, text: text})
	o := l.originOf(origin{file: int32(len(l.src.files) - 1), kind: kind, via: via})

	dir, check := l.dir, l.check
	l.dir = inDir
	l.reading = append(l.reading, info)
	l.src.lines = slices.Grow(l.src.lines, len(text)/usualLine)
	l.expandFile(o, text)
	l.reading = l.reading[:len(l.reading)-1]
	l.dir, l.check = dir, check
}

// unreadable reports a file of the command line that cannot be read. One that is there but may not be read sets the status 4 of
// the reference, which passes over the others in silence.
func (l *loader) unreadable(name string, err error) {
	d := Diagnostic{Severity: Error, Code: "config-unreadable", Exit: ExitConfig, FatalAtStart: true,
		Message: fmt.Sprintf("cannot read configuration file %s: %s", name, reason(err))}
	if err == errNoFile && IsStream(name) {
		d.Message += ", and a reload could not read it again"
	}
	if errors.Is(err, fs.ErrPermission) {
		d.Exit = ExitFatal
	}
	l.diags = append(l.diags, d)
}

// readInclude reads an included file. What is no file to read is skipped; must makes that a failure.
func (l *loader) readInclude(path string, pos Pos, must bool) {
	err := l.readFile(path, originInclude, pos)
	if err == nil {
		return
	}
	d := Diagnostic{Pos: pos, Severity: Warning, Code: "include-unreadable", Message: fmt.Sprintf("include: cannot read %s: %s", path, reason(err))}
	switch {
	case err == errLoop:
		d.Severity, d.Exit, d.Code = Error, ExitConfig, "include-loop"
	case err == errTooMany, err == errTooLarge:
		d.Severity, d.Exit, d.Code = Error, ExitConfig, "include-limit"
	case must:
		d.Severity, d.Exit, d.FatalAtStart = Error, ExitSecurity, true
	case errors.Is(err, fs.ErrPermission):
		d.Severity, d.Exit = Error, ExitFatal
	}
	l.diags = append(l.diags, d)
}

// reason is the part of a file error behind the operation and the name.
func reason(err error) string {
	var pe *fs.PathError
	for errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

var (
	errNoFile   = errors.New("not a regular file")
	errIsDir    = errors.New("is a directory")
	errExec     = errors.New("is executable, which a configuration must not be")
	errLoop     = errors.New("it is being read already: files include each other")
	errTooMany  = fmt.Errorf("more than %d files, or more than %d that include each other", maxFiles, maxIncludeDepth)
	errTooLarge = fmt.Errorf("with it the configuration is larger than %d MiB", maxFileSize>>20)
)

// slurp reads a regular file, or /dev/null, which is empty. It does not wait for a FIFO and does not touch devices.
func slurp(path string, limit int) (string, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = readable(info, limit) // before opening: to open some devices does things
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
		err = readable(info, limit)
	}
	if err != nil {
		return "", nil, err
	}
	b := make([]byte, 0, info.Size()+1) // one byte more, to see the end
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > limit {
			return "", nil, errTooLarge
		}
		if n == 0 || err != nil {
			if err != nil && err != io.EOF {
				return "", nil, err
			}
			return unsafe.String(unsafe.SliceData(b), len(b)), info, nil // nobody else holds b
		}
		if len(b) == cap(b) { // it has grown meanwhile
			b = slices.Grow(b, 64<<10)
		}
	}
}

// readable says why a file is none to read a configuration from.
func readable(info fs.FileInfo, limit int) error {
	switch {
	case info.IsDir():
		return errIsDir
	case isNull(info):
		return nil
	case !info.Mode().IsRegular():
		return errNoFile
	case info.Mode()&0o111 != 0:
		return errExec
	case info.Size() > int64(limit):
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
	// Lint adds what the reference accepts and an operator regrets (LintRules), and keeps the places that ComparePair points at.
	Lint bool
	// Machine answers questions about the machine; nil: this machine.
	Machine *Machine
}
