package confparse

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
)

var unknownKeyword = regexp.MustCompile(`(?m)Unknown keyword '(.*)'$`)

// TestTheReferenceReadsTheSameWords gives each case, whose words are no keywords, to the reference: it complains about the first
// word of each line that it read. Cases that say "Differs" are where we mean to differ.
func TestTheReferenceReadsTheSameWords(t *testing.T) {
	testneed.Need(t, "keepalived")
	compared := 0
	for _, path := range languageCases(t) {
		c := readCase(t, path)
		if strings.Contains(c.comment, "Differs") || strings.Contains(c.tree, "global_defs") || strings.Contains(c.tree, "vrrp_instance") {
			continue
		}
		compared++
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			file := c.place(t)
			src, _ := Load(file, LoadOptions{ConfigID: "main"})
			tree, _ := Parse(src)
			want := firstWords(tree, nil)

			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "keepalived", "-t", "-n", "-l", "-i", "main", "-f", file)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run() // its status is not the question here
			var got []string
			for _, m := range unknownKeyword.FindAllStringSubmatch(out.String(), -1) {
				if m[1] != "}" {
					got = append(got, m[1])
				}
			}
			// Each part of the reference reads the text, the main process first.
			if len(got) >= len(want) {
				got = got[:len(want)]
			}
			if !slices.Equal(got, want) {
				t.Errorf("the reference reads %q\nwe read           %q\n%s", got, want, out.String())
			}
		})
	}
	if compared < 90 {
		t.Errorf("only %d cases compared", compared)
	}
}

func firstWords(b *Block, words []string) []string {
	for _, st := range b.Stmts {
		words = append(words, st.Words[0].Text)
		if st.Block != nil {
			words = firstWords(st.Block, words)
		}
	}
	return words
}
