package confparse

import (
	"bytes"
	"path/filepath"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"blocks", "a{\nb 1\n\n\n\nc {\nd\n}\n}\n", "a {\n    b 1\n\n    c {\n        d\n    }\n}\n"},
		{"comments follow their line", "a {\n# one\nb # two {\n  ! three }\n}\n", "a {\n    # one\n    b # two {\n    ! three }\n}\n"},
		{"one-line blocks stay", "a {\nb { c 3 }\n}\n", "a {\n    b { c 3 }\n}\n"},
		{"a brace on its own line stays", "a\n{\nb\n}\n", "a\n{\n    b\n}\n"},
		{"a closing brace behind a value", "a {\nb 3 }\nc\n", "a {\n    b 3 }\nc\n"},
		{"two closing braces on a line", "a {\nb {\nc\n} }\nd\n", "a {\n    b {\n        c\n} }\nd\n"},
		{"quotes keep braces", "a \"{\"\nb\n", "a \"{\"\nb\n"},
		{"parameters keep theirs", "a ${B} {\nc ${D}\n}\n", "a ${B} {\n    c ${D}\n}\n"},
		{"lists keep theirs", "a {\n~LST({A,B},{1,2}) b ${A}\n}\n", "a {\n    ~LST({A,B},{1,2}) b ${A}\n}\n"},
		{"definitions of several lines", "$A= \\\na { \\\nb \\\n} \\\nc\nd\n", "$A= \\\n    a { \\\n        b \\\n    } \\\n    c\nd\n"},
		{"a definition that leaves a block open", "$A= \\\na { \\\nb\nd\n", "$A= \\\n    a { \\\n        b\nd\n"},
		{"a definition that an empty line ends", "$A= \\\na \\\n\nd\n", "$A= \\\n    a \\\n\nd\n"},
		{"alternatives that open the same block", "@x a {\n@^x b {\nc\n}\nd\n", "@x a {\n@^x b {\n    c\n}\nd\n"},
		{"more closed than opened", "}\na {\nb\n}\n", "}\na {\n    b\n}\n"},
		{"line ends of Windows stay", "a {\r\nb\r\n}\r\n", "a {\r\n    b\r\n}\r\n"},
		{"a byte order mark goes", "\ufeffa\n", "a\n"},
		{"empty lines at both ends go", "\n\na\n\n\n", "a\n"},
		{"the end of the last line comes", "a", "a\n"},
		{"nothing", "", ""},
		{"space within a line stays", "a   b\t\"c   d\"  \n", "a   b\t\"c   d\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(Format([]byte(c.in))); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestFormatKeepsTheMeaningOfEachCase(t *testing.T) {
	for _, path := range languageCases(t) {
		c := readCase(t, path)
		if len(c.names) > 1 {
			continue // a block can go over the end of a file there
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			sameAfterFormat(t, filepath.Base(path), []byte(c.files[c.names[0]]))
		})
	}
}

// sameAfterFormat fails if formatting changes the tree, or if formatting again changes the text.
func sameAfterFormat(t *testing.T, name string, text []byte) {
	t.Helper()
	read := func(text []byte) string {
		src, _ := loadText(t, string(text))
		tree, _ := Parse(src)
		return treeText(tree)
	}
	out := Format(text)
	if again := Format(out); !bytes.Equal(out, again) {
		t.Errorf("%s: formatted again it becomes\n%q\nnot\n%q", name, again, out)
	}
	if got, want := read(out), read(text); got != want {
		t.Errorf("%s: formatted it means\n%s\nnot\n%s", name, got, want)
	}
}
