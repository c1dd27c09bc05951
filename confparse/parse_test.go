package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dumpTree writes the words of a tree, a statement a line, nested by indent.
func dumpTree(b *strings.Builder, blk *Block, depth int) {
	for _, st := range blk.Stmts {
		b.WriteString(strings.Repeat("  ", depth))
		for i, w := range st.Words {
			if i > 0 {
				b.WriteByte(' ')
			}
			if w.Quoted || w.Text == "" || strings.ContainsFunc(w.Text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`{}"\`, r) }) {
				fmt.Fprintf(b, "%q", w.Text)
			} else {
				b.WriteString(w.Text)
			}
		}
		if st.Block != nil {
			b.WriteString(" {\n")
			dumpTree(b, st.Block, depth+1)
			b.WriteString(strings.Repeat("  ", depth) + "}")
		}
		b.WriteByte('\n')
	}
}

func parseText(t testing.TB, text string) (*Source, *Block, Diagnostics) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "k.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	src, diags := Load(path, LoadOptions{ConfigID: "main"})
	tree, more := Parse(src)
	return src, tree, append(diags, more...)
}
