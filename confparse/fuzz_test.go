package confparse

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// seeds adds the first file of each case to a fuzz target.
func seeds(f *testing.F) {
	paths, _ := filepath.Glob("../testdata/confparse/language/*.txt")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if marks := separator.FindAllIndex(data, 3); len(marks) == 3 {
			f.Add(string(data[marks[0][1]:marks[1][0]]))
		}
	}
}

// fuzzBounds keep a single input from taking long.
var fuzzBounds = bounds{output: 1 << 18, lines: 1 << 12, work: 1 << 21}

// ownFiles skips what a fuzzer has made up that could read files of this machine.
func ownFiles(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "include") && strings.Contains(text, "/") {
		t.Skip("would read the files of this machine")
	}
}

func loadText(t *testing.T, text string) (*Source, Diagnostics) {
	t.Helper()
	l := newLoader(LoadOptions{ConfigID: "main"}, fuzzBounds)
	l.seed("1")
	l.readText("/nowhere/k.conf", "/nowhere", text, nil, originFile, Pos{})
	return l.src, l.diags
}

// FuzzSource: the source stage never panics, its places lead to what stands there, and a source survives being handed over.
func FuzzSource(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		ownFiles(t, text)
		src, diags := loadText(t, text)
		for i := range src.lines {
			for at := range len(src.lines[i].text) {
				where := src.placesIn(i)
				if p := where.of(at); src.Name(p) == "" || !p.IsValid() || p.Col < 1 {
					t.Fatalf("byte %d of %q was written at %v", at, src.lines[i].text, p)
				}
			}
		}
		for _, d := range diags {
			if d.Pos.IsValid() && (src.Name(d.Pos) == "" || d.Pos.Col < 1) {
				t.Fatalf("complaint at %v: %s", d.Pos, d.Message)
			}
		}
		data, _ := src.MarshalBinary()
		got, err := UnmarshalSource(data)
		if err != nil {
			t.Fatal(err)
		}
		if got.Text() != src.Text() {
			t.Fatalf("handed over it reads %q, not %q", got.Text(), src.Text())
		}
	})
}

// FuzzParse: the grammar never panics, each word has its place, and the report can be written.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		ownFiles(t, text)
		src, diags := loadText(t, text)
		tree, more := Parse(src)
		var check func(b *Block, depth int)
		check = func(b *Block, depth int) {
			if depth > maxDepth {
				t.Fatal("too deep")
			}
			for _, st := range b.Stmts {
				if len(st.Words) == 0 {
					t.Fatal("a statement without words")
				}
				for _, w := range st.Words {
					if src.Name(w.Pos) == "" || w.Pos.Col < 1 {
						t.Fatalf("word %q was written at %v", w.Text, w.Pos)
					}
				}
				if st.Block != nil {
					check(st.Block, depth+1)
				}
			}
		}
		check(tree, 0)
		report := Report{src, append(diags, more...).Sorted(src)}
		for _, write := range []func() error{
			func() error { return WriteText(devNull{}, report) },
			func() error { return WriteSARIF(devNull{}, report) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		// What is read statement by statement is the same tree.
		p := newParser(src)
		var stmts []*Statement
		for more := true; more; {
			var next []*Statement
			next, more = p.next()
			stmts = append(stmts, next...)
		}
		if len(stmts) != len(tree.Stmts) {
			t.Fatalf("%d statements one by one, %d at once", len(stmts), len(tree.Stmts))
		}
	})
}

// FuzzCheck: neither do the tables panic.
func FuzzCheck(f *testing.F) {
	seeds(f)
	paths, _ := filepath.Glob("../testdata/demo/*/*.conf")
	more, _ := filepath.Glob("../testdata/demo/*.conf")
	for _, path := range append(paths, more...) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		ownFiles(t, text)
		src, _ := loadText(t, text)
		if cfg, _ := Check(src, CheckOptions{NoHost: true, Test: true}); cfg == nil {
			t.Fatal("no configuration")
		}
	})
}

// FuzzUnmarshal: no bytes make it panic, and what it takes for a source can be parsed.
func FuzzUnmarshal(f *testing.F) {
	paths, _ := filepath.Glob("../testdata/confparse/language/m*.txt")
	for _, path := range paths {
		src, _ := Load(path, LoadOptions{})
		data, _ := src.MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := UnmarshalSource(data)
		if err != nil {
			return
		}
		tree, _ := Parse(src)
		for _, st := range tree.Stmts {
			src.Chain(st.Pos())
			src.Use(st.Pos())
		}
		again, _ := src.MarshalBinary()
		other, err := UnmarshalSource(again)
		if err != nil || !reflect.DeepEqual(other.lines, src.lines) {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzFormat: formatting changes neither the meaning nor what is formatted.
func FuzzFormat(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		ownFiles(t, text)
		sameAfterFormat(t, "input", []byte(text))
	})
}

type devNull struct{}

// Write implements io.Writer.
func (devNull) Write(b []byte) (int, error) { return len(b), nil }
