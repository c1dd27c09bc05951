package confparse

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestASourceThatIsHandedOverStaysTheSame(t *testing.T) {
	for _, path := range languageCases(t) {
		c := readCase(t, path)
		src, _ := Load(c.place(t), LoadOptions{ConfigID: "main"})
		data, err := src.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalSource(data)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			continue
		}
		want, wantDiags := Parse(src)
		tree, diags := Parse(got)
		if !reflect.DeepEqual(tree, want) || !reflect.DeepEqual(diags, wantDiags) {
			t.Errorf("%s: another tree", filepath.Base(path))
		}
		for _, st := range want.Stmts {
			for _, w := range st.Words {
				if got.Name(w.Pos) != src.Name(w.Pos) || !reflect.DeepEqual(got.Chain(w.Pos), src.Chain(w.Pos)) {
					t.Errorf("%s: %q comes from %s %v, want %s %v", filepath.Base(path), w.Text,
						got.Name(w.Pos), got.Chain(w.Pos), src.Name(w.Pos), src.Chain(w.Pos))
				}
			}
		}
	}
}

func TestAHandedOverSourceHoldsNoComments(t *testing.T) {
	src, _, _ := parseText(t, "# my secret\nalpha b # another\n")
	data, _ := src.MarshalBinary()
	if strings.Contains(string(data), "secret") || strings.Contains(string(data), "another") {
		t.Errorf("%q", data)
	}
	got, err := UnmarshalSource(data)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := got.Line(Pos{0, 2, 1}); ok {
		t.Errorf("the line of the file is %q", s)
	}
}

func TestWhatIsCutShortIsNoSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.conf")
	if err := os.WriteFile(path, []byte("$A= \\\n alpha ${B} { \\\n }\n$B=1\n$A\ninclude "+path+"x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, _ := Load(path, LoadOptions{})
	data, _ := src.MarshalBinary()
	for n := range data {
		if _, err := UnmarshalSource(data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a source", n, len(data))
		}
	}
	if _, err := UnmarshalSource(append(data, 0)); err == nil {
		t.Error("a byte too many goes unnoticed")
	}
}
