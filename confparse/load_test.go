package confparse

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon fails the test if f takes longer than anybody should wait for a configuration.
func soon(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("takes longer than 30 s")
	}
}

func treeText(b *Block) string {
	var s strings.Builder
	dumpTree(&s, b, 0)
	return s.String()
}

func codes(d Diagnostics) string {
	var list []string
	for _, x := range d {
		list = append(list, string(x.Code))
	}
	return strings.Join(list, " ")
}

func TestTextThatIsNotQuiteText(t *testing.T) {
	for _, c := range []struct{ name, text, tree, codes string }{
		{"line ends of Windows", "alpha {\r\n beta \"c d\"\r\n}\r\n", "alpha {\n  beta \"c d\"\n}\n", ""},
		{"no end of the last line", "alpha b", "alpha b\n", ""},
		{"nothing", "", "", ""},
		{"only a comment", "# x", "", ""},
		{"a carriage return within a line is space", "alpha\rbeta", "alpha beta\n", ""},
		{"a byte order mark", "\ufeffalpha b\n", "alpha b\n", "byte-order-mark"},
		{"a byte order mark elsewhere is part of a word", "alpha\n\ufeffbeta\n", "alpha\n\"\\ufeffbeta\"\n", ""},
		{"a NUL byte costs the line", "alpha\nbe\x00ta\ngamma\n", "alpha\ngamma\n", "nul-byte"},
		{"bytes that are not UTF-8 stay", "alpha \xff\xfe\n", "alpha \"\\xff\\xfe\"\n", ""},
		{"a space that is none in ASCII", "alpha\u00a0b\n", "\"alpha\\u00a0b\"\n", ""},
		{"the longest line", "alpha " + strings.Repeat("x", maxLine-6) + "\nbeta\n", "alpha " + strings.Repeat("x", maxLine-6) + "\nbeta\n", ""},
		{"a line that is too long", "alpha " + strings.Repeat("x", maxLine-5) + "\nbeta\n", "beta\n", "line-too-long"},
		{"a comment that is too long", "# " + strings.Repeat("x", maxLine) + "\nbeta\n", "beta\n", "line-too-long"},
		{"a line of a megabyte", strings.Repeat("x ", 1<<19) + "\nbeta\n", "beta\n", "line-too-long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, tree, diags := parseText(t, c.text)
			if got := treeText(tree); got != c.tree {
				t.Errorf("tree %q, want %q", got, c.tree)
			}
			if got := codes(diags); got != c.codes {
				t.Errorf("codes %q, want %q", got, c.codes)
			}
		})
	}
}

func TestTextThatWouldGrowWithoutEnd(t *testing.T) {
	double := func(n int, tail string) string { // each parameter holds the next one twice
		var b strings.Builder
		for i := range n {
			b.WriteString("$A" + string(rune('a'+i)) + "=${A" + string(rune('a'+i+1)) + "}${A" + string(rune('a'+i+1)) + "}\n")
		}
		b.WriteString("$A" + string(rune('a'+n)) + "=" + tail + "\n")
		return b.String()
	}
	var lines strings.Builder // the same with values of several lines
	for i := range 24 {
		c, next := string(rune('a'+i)), string(rune('a'+i+1))
		lines.WriteString("$A" + c + "= \\\n$A" + next + " \\\n$A" + next + "\n")
	}
	lines.WriteString("$Ay=x\n$Aa\n")
	for _, c := range []struct{ name, text, code string }{
		{"a parameter doubled 24 times", double(24, "x") + "alpha ${Aa}\n", "expansion-limit"},
		{"an empty parameter doubled 24 times", double(24, "") + "alpha ${Aa}\n", "expansion-limit"},
		{"lines doubled 24 times", lines.String(), "expansion-limit"},
		{"a sequence of 10^12 rounds", "~SEQ(I,1,1000000000000) x${I}\n", "bad-sequence"},
		{"a sequence over all numbers", "~SEQ(I,-9223372036854775808,9223372036854775807) x${I}\n", "bad-sequence"},
		{"sequences of sequences", "~SEQ(I,1,1000000) ~SEQ(J,1,1000000) x${I}${J}\n", "expansion-limit"},
		{"sequences of sequences of nothing", "~SEQ(I,1,1000000) ~SEQ(J,1,1000000) $A=1\n", "expansion-limit"},
		{"conditions that never hold in a sequence", "~SEQ(I,1,1000000) ~SEQ(J,1,1000000) @other x\n", "expansion-limit"},
		{"braces in the name of a file", "include " + strings.Repeat("{a,b}", 40) + "\n", "bad-file-name"},
		{"10,000 nested blocks", strings.Repeat("a {\n", 10_000) + strings.Repeat("}\n", 10_000), "too-deep"},
		{"10,000 nested blocks without end", strings.Repeat("a {\n", 10_000), "missing-close-brace"},
		{"10,000 closing braces", strings.Repeat("}", 1000) + "\n", "extra-close-brace"},
		{"open braces alone", strings.Repeat("{", 1000) + "\n", "unexpected-open-brace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			soon(t, func() {
				path := filepath.Join(t.TempDir(), "k.conf")
				if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				src, diags := load(path, LoadOptions{ConfigID: "main"}, bounds{output: 1 << 20, lines: 1 << 16, work: 1 << 24})
				_, more := Parse(src)
				diags = append(diags, more...)
				if !strings.Contains(codes(diags), c.code) {
					t.Errorf("codes %.200q, want %q", codes(diags), c.code)
				}
			})
		})
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(syscall.Mkfifo(at("fifo"), 0o600))
	must(os.Mkdir(at("folder"), 0o700))
	must(os.Symlink("/dev/null", at("null")))
	must(os.Symlink("nowhere", at("dangling")))
	must(os.Symlink("ring", at("ring")))
	must(os.WriteFile(at("program"), []byte("alpha\n"), 0o700))
	must(os.WriteFile(at("large"), nil, 0o600))
	must(os.Truncate(at("large"), maxFileSize+1))
	must(os.WriteFile(at("fine"), []byte("beta\n"), 0o600))

	for _, c := range []struct {
		name, file, want string
		null             bool
		exit             int // of the include
	}{
		{name: "a FIFO does not hang", file: "fifo", want: "not a regular file"},
		{name: "a folder", file: "folder", want: "is a directory"},
		{name: "a device that never ends", file: "/dev/zero", want: "not a regular file"},
		{name: "the null device is an empty file", file: "/dev/null", null: true},
		{name: "a link to the null device too", file: "null", null: true},
		{name: "a link to nothing", file: "dangling", want: "no such file or directory"},
		{name: "a link to itself", file: "ring", want: "too many levels of symbolic links"},
		{name: "a program", file: "program", want: "is executable"},
		{name: "a huge file", file: "large", want: "larger than", exit: 5},
	} {
		path := c.file
		if !filepath.IsAbs(path) {
			path = at(path)
		}
		t.Run(c.name, func(t *testing.T) {
			soon(t, func() {
				_, diags := Load(path, LoadOptions{})
				main := filepath.Join(t.TempDir(), "k.conf")
				must(os.WriteFile(main, []byte("include "+path+"\ninclude "+at("fine")+"\n"), 0o600))
				src, inc := Load(main, LoadOptions{})
				if src.Text() != "beta\n" {
					t.Errorf("the file that includes reads %q", src.Text())
				}
				if c.null {
					if len(diags)+len(inc) > 0 {
						t.Errorf("complaints %v %v", diags, inc)
					}
					return
				}
				if len(diags) != 1 || !strings.Contains(diags[0].Message, c.want) || diags.ExitCode() != 5 || diags.FatalAtStart() == nil {
					t.Errorf("as the configuration: %v, want one that says %q and ends the start", diags, c.want)
				}
				if len(inc) != 1 || !strings.Contains(inc[0].Message, c.want) || inc.ExitCode() != c.exit {
					t.Errorf("as an include: %v, want one that says %q and changes no status", inc, c.want)
				}
			})
		})
	}
}

func TestAFileThatMayNotBeReadSetsStatus4(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.conf")
	if err := os.WriteFile(path, []byte("alpha\n"), 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root may read everything: without that capability this thread may not
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		var caps [2]unix.CapUserData
		h := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capget(h, &caps[0]); err != nil {
			t.Fatal(err)
		}
		caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		if err := unix.Capset(h, &caps[0]); err != nil {
			t.Fatal(err)
		}
	}
	if _, diags := Load(path, LoadOptions{}); diags.ExitCode() != 4 {
		t.Errorf("status %d of %v", diags.ExitCode(), diags)
	}
}

func TestTheConfigurationCanBeAGlob(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.conf": "two\n", "a.conf": "one ${_PWD}\n", "c.txt": "three\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, diags := Load(filepath.Join(dir, "*.conf"), LoadOptions{})
	if want := "one " + dir + "\ntwo\n"; src.Text() != want || len(diags) > 0 {
		t.Errorf("got %q, %v; want %q", src.Text(), diags, want)
	}
	for _, name := range []string{"*.none", "none.conf", ""} {
		if _, diags := Load(filepath.Join(dir, name), LoadOptions{}); len(diags) != 1 || diags.ExitCode() != 5 || diags.FatalAtStart() == nil {
			t.Errorf("%q: %v, want one complaint that ends the start", name, diags)
		}
	}
}

func TestAllConfigMakesEveryIncludeStrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.conf")
	if err := os.WriteFile(path, []byte("include none/*.conf\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, diags := Load(path, LoadOptions{}); diags.ExitCode() != 0 {
		t.Errorf("without -e: %v", diags)
	}
	if _, diags := Load(path, LoadOptions{AllConfig: true}); diags.ExitCode() != 6 {
		t.Errorf("with -e: %v", diags)
	}
}

func TestTheEnvironmentIsAParameter(t *testing.T) {
	t.Setenv("RELEVE_TEST_A", "b c")
	t.Setenv("RELEVE_TEST_RING", "${_ENV RELEVE_TEST_RING}")
	t.Setenv("RELEVE_TEST_LINES", "a\nb")
	_, tree, diags := parseText(t, "alpha ${_ENV RELEVE_TEST_A}\n\"${_ENV RELEVE_TEST_RING}\"\nbeta ${_ENV RELEVE_TEST_LINES}\n")
	if got, want := treeText(tree), "alpha b c\n\"${_ENV RELEVE_TEST_RING}\"\nbeta\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := codes(diags), "parameter-loop parameter-arguments"; got != want {
		t.Errorf("codes %q, want %q", got, want)
	}
}
