package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"releve/confparse"
)

const fmtUsage = `Usage: releve fmt [OPTIONS] [FILE...]
Indents configurations anew and prints them. Words and comments stay as they are. Without FILE, or with -, it reads the standard
input.

`

const fmtMore = `
Exit status: 0; with --list 1 if a file would change; 1 if a file cannot be read or written; 2 wrong options.
`

// fmtCommand is `releve fmt`.
var fmtCommand = subcommand{"fmt", "indent a configuration anew", runFmt}

func runFmt(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("fmt", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	write := flags.BoolP("write", "w", false, "write the files instead of printing them")
	list := flags.BoolP("list", "l", false, "print only the names of the files that would change")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	switch {
	case err == nil && *help:
		fmt.Fprint(stdout, fmtUsage, flags.FlagUsages(), fmtMore)
		return 0
	case err == nil && flags.NArg() == 0 && (*write || *list):
		err = errors.New("name a file")
	case err == nil:
		err = oneInput(flags.Args()...)
	}
	if err != nil {
		return wrongUse(stderr, "fmt", err)
	}
	names := flags.Args()
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		changed, err := fmtFile(name, *write, *list, stdout)
		if err != nil {
			fmt.Fprintf(stderr, "releve fmt: %v\n", err)
		}
		if err != nil || *list && changed {
			status = 1
		}
	}
	return status
}

// fmtFile formats one file: to stdout, into the file, or only its name to stdout if it would change.
func fmtFile(name string, write, list bool, stdout io.Writer) (changed bool, err error) {
	if confparse.IsStream(name) {
		return fmtStream(name, write, list, stdout)
	}
	info, err := os.Stat(name)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s: not a regular file", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	out := confparse.Format(text)
	changed = !bytes.Equal(text, out)
	if list && changed {
		fmt.Fprintln(stdout, name)
	}
	if write && changed {
		return changed, replaceFile(name, out, info)
	}
	if !write && !list {
		_, err = stdout.Write(out)
	}
	return changed, err
}

// fmtStream formats what can be read once only.
func fmtStream(name string, write, list bool, stdout io.Writer) (changed bool, err error) {
	if write {
		return false, fmt.Errorf("%s: only a file can be written", name)
	}
	s, err := confparse.ReadStream(name)
	if err != nil {
		return false, err
	}
	out := confparse.Format([]byte(s.Text))
	changed = s.Text != string(out)
	switch {
	case list && changed:
		_, err = fmt.Fprintln(stdout, s.Name)
	case !list:
		_, err = stdout.Write(out)
	}
	return changed, err
}

// replaceFile puts text in the place of a file, so that a daemon that reads it at that moment sees the old or the new one. A link
// stays one: what it points to is replaced. Where the folder takes no new file, the file itself is written.
func replaceFile(name string, text []byte, info os.FileInfo) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".releve-fmt-*")
	if err != nil {
		return os.WriteFile(name, text, info.Mode().Perm())
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = errors.Join(err, tmp.Chown(int(st.Uid), int(st.Gid)))
	}
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
