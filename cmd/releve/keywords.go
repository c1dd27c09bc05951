package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"releve/confparse"
)

//go:generate sh -c "go run . keywords --markdown > ../../docs/keywords.md"
//go:generate sh -c "go run . keywords --coverage > ../../docs/coverage.md"
//go:generate sh -c "go run . keywords --completion > ../../docs/releve.bash"

const keywordsUsage = `Usage: releve keywords [OPTIONS] [KEYWORD|BLOCK ...]
Says what a keyword of keepalived.conf does, what its values are and who acts on it; without a word, lists all of them.

`

const keywordsMore = `
Exit status: 0; 1 if there is no such keyword; 2 wrong options.
`

// keywordsCommand is `releve keywords`.
var keywordsCommand = subcommand{"keywords", "what each keyword of keepalived.conf does", runKeywords}

func runKeywords(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("keywords", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	markdown := flags.Bool("markdown", false, "the reference of all keywords, docs/keywords.md")
	coverage := flags.Bool("coverage", false, "what is done about each keyword, docs/coverage.md")
	completion := flags.Bool("completion", false, "completion for bash, docs/releve.bash")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	if err != nil {
		return wrongUse(stderr, "keywords", err)
	}
	switch {
	case *help:
		fmt.Fprint(stdout, keywordsUsage, flags.FlagUsages(), keywordsMore)
		return 0
	case *markdown:
		err = confparse.WriteMarkdown(stdout)
	case *coverage:
		err = confparse.WriteCoverage(stdout)
	case *completion:
		err = writeCompletion(stdout)
	case flags.NArg() == 0:
		for _, k := range confparse.Keywords() {
			fmt.Fprintln(stdout, k)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve keywords: %v\n", err)
		return 1
	}
	status := 0
	for _, w := range flags.Args() {
		if confparse.WriteHelp(stdout, w) {
			continue
		}
		status = 1
		fmt.Fprintf(stderr, "releve keywords: no keyword or block %q", w)
		if near := confparse.NearestKeyword(w); near != "" {
			fmt.Fprintf(stderr, "; did you mean %s?", near)
		}
		fmt.Fprintln(stderr)
	}
	return status
}
