package supervisor

import (
	"fmt"
	"os"
	"time"
)

// logFileLook is how long a log file may have been moved away or removed before its successor is made.
const logFileLook = time.Second

// logFile is a file of log lines that follows its name: once somebody has rotated it, lines go to a new one. It has one writer.
type logFile struct {
	path   string
	f      *os.File
	looked time.Time // when the name was last seen to be that of f
}

func openLogFile(path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return &logFile{path, f, time.Now()}, nil
}

// Write appends to the file that has the name now. If none can be made the old one takes the line, wherever it is.
func (l *logFile) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(l.looked) >= logFileLook {
		l.looked = now
		l.follow()
	}
	return l.f.Write(b)
}

func (l *logFile) follow() {
	there, err := os.Stat(l.path)
	if here, hereErr := l.f.Stat(); err == nil && hereErr == nil && os.SameFile(here, there) {
		return
	}
	if next, err := openLogFile(l.path); err == nil {
		l.f.Close()
		l.f = next.f
	}
}

// Close closes the file.
func (l *logFile) Close() error { return l.f.Close() }
