// Package status writes what the daemon is doing where tools look for it: keepalived.data and its kin, keepalived.stats and
// keepalived.json, in the reference's words and order. Everything is written from snapshots; nothing here holds anybody up.
package status

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write puts a file in place at once: filled beside, flushed, renamed over path and only then closed, so that a reader never sees
// half of it and a watcher of the folder hears of a closed write under the final name. The mode is mode less the umask. Links
// at path are replaced, not followed.
func Write(path string, mode os.FileMode, fill func(w *bufio.Writer)) error {
	f, err := createBeside(path, mode)
	if err != nil {
		return fmt.Errorf("dump to %s: %w", path, err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	fill(w)
	err = w.Flush()
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("dump to %s: %w", path, err)
	}
	return nil
}

// createBeside makes a new file in path's folder. Its name ends in six characters, as clients that clean up expect.
func createBeside(path string, mode os.FileMode) (*os.File, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var random [6]byte
	for try := 0; ; try++ {
		if _, err := unix.Getrandom(random[:], 0); err != nil {
			return nil, err
		}
		for i, b := range random {
			random[i] = letters[int(b)%len(letters)]
		}
		f, err := os.OpenFile(path+string(random[:]), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
		if err == nil || !errors.Is(err, os.ErrExist) || try == 100 {
			return f, err
		}
	}
}

// Names are the paths of the dump files.
type Names struct{ Main, Check, BFD, Parent, Stats, JSON string }

// NamesOptions are what the names depend on.
type NamesOptions struct {
	// State, Stats and JSON are state_dump_file, stats_dump_file and json_dump_file; empty: the usual names.
	State, Stats, JSON string
	// Tag is put into the usual names of the data files (data_use_instance): NAME, NS or NS_NAME; empty: none.
	Tag string
}

// FileNames gives the paths: the usual names in $TMPDIR (if that is an absolute folder that exists) or /tmp, or what the keywords
// say.
func FileNames(o NamesOptions) Names {
	dir := "/tmp"
	if tmp := os.Getenv("TMPDIR"); filepath.IsAbs(tmp) {
		if st, err := os.Stat(tmp); err == nil && st.IsDir() {
			dir = tmp
		}
	}
	ext := ".data"
	if o.Tag != "" {
		ext = "." + o.Tag + ".data"
	}
	place := func(keyword, usual string) string {
		switch {
		case keyword == "":
			return filepath.Join(dir, usual)
		case keyword[len(keyword)-1] == '/':
			return keyword + usual
		}
		return keyword
	}
	base := place(o.State, "keepalived"+ext)
	if o.State != "" && o.State[len(o.State)-1] != '/' {
		ext = filepath.Ext(base)
	}
	stem := base[:len(base)-len(ext)]
	return Names{
		Main: base, Check: stem + "_check" + ext, BFD: stem + "_bfd" + ext, Parent: stem + "_parent" + ext,
		Stats: place(o.Stats, "keepalived.stats"), JSON: place(o.JSON, "keepalived.json"),
	}
}
