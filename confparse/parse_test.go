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
			if w.Quoted || w.Text == "" || strings.ContainsAny(w.Text, " {}\"\\\n\t") {
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

func TestParseFirst(t *testing.T) {
	src, tree, diags := parseText(t, "global_defs{\n router_id \"a b\"  # x\n}\nvrrp_instance VI_1\n{\n$P=10.${Q}\n$Q=1\n @main priority ${P}.2\n T { a b } c}\n")
	var b strings.Builder
	dumpTree(&b, tree, 0)
	t.Log(src.Text(), b.String(), diags)
}
