package confparse

import (
	"fmt"
	"io"
)

// WriteLintPage prints docs/check.md.
func WriteLintPage(w io.Writer) error {
	_, err := io.WriteString(w, `# What releve check says beyond keepalived -t

`+"`releve check FILE`"+` gives the complaints of `+"`keepalived -t`"+` and the ones below; `+"`--disable CODE`"+` leaves a code out,
`+"`--no-lint`"+` all of them. They leave the exit status alone unless `+"`--strict`"+` is given. `+"`releve check --pair A B`"+` also
compares the files of two directors. This page is printed from the table of rules.
`)
	for _, part := range []struct {
		title string
		rules []LintRule
	}{{"One file", LintRules}, {"Two directors", PairRules}} {
		if err == nil {
			_, err = fmt.Fprintf(w, "\n## %s\n\n| code | when |\n|---|---|\n", part.title)
		}
		for _, r := range part.rules {
			if err == nil {
				_, err = fmt.Fprintf(w, "| `%s` | %s |\n", r.Code, r.Text)
			}
		}
	}
	return err
}
