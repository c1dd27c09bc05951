package confparse

import (
	"slices"
	"testing"

	"releve/script"
)

// The words are those that keepalived 2.2.7 shows in its JSON for the same text.
func TestWordsOfACommandAreTheReferences(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{`/bin/echo x y`, []string{"/bin/echo", "x", "y"}},
		{`/bin/echo 'y "q" z' w`, []string{"/bin/echo", `y "q" z`, "w"}},
		{`bash -c "! test -e /tmp/a"`, []string{"bash", "-c", "! test -e /tmp/a"}},
		{`/bin/echo x"y z"w 'a'b"c d"`, []string{"/bin/echo", "xy zw", "abc d"}},
		{`'/bin/echo' "don't do" e`, []string{"/bin/echo", "don't do", "e"}},
		{`/bin/echo "x \"y\" z" w`, []string{"/bin/echo", `x "y" z`, "w"}},
		{`/bin/echo x\ y 'p\q' 'r\'s t'`, []string{"/bin/echo", "x y", "pq", "r's t"}},
		{`/bin/echo "a\nb" \x41 '\x42' c\td`, []string{"/bin/echo", "a\nb", "A", "B", "c\td"}},
	} {
		got := splitCommand(c.text)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
		if again := splitCommand(commandText(&script.Command{Args: got})); !slices.Equal(again, got) {
			t.Errorf("%s: written and read again %q, was %q", c.text, again, got)
		}
	}
}
