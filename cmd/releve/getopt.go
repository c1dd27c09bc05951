package main

import (
	"fmt"
	"strings"
)

// argKind says whether an option has a value.
type argKind uint8

const (
	noArg argKind = iota
	needsArg
	optionalArg // glued only: -tFILE, --config-test=FILE
)

// option is a row of the option table.
type option struct {
	short byte // zero: none
	long  string
	arg   argKind
	value string // what the usage text calls the value
	help  string
	set   func(c *commandLine, value string) error
}

// getopt parses words (without argv[0]) as GNU getopt_long does and returns the words that are no options. spf13/pflag is not
// enough here: it has no abbreviations of long options, and it reads -tFILE as -t -F -I -L -E, so scripts written for
// the reference would do something else.
func getopt(table []option, words []string, c *commandLine) (rest []string, err error) {
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch {
		case w == "--":
			return append(rest, words...), nil
		case strings.HasPrefix(w, "--"):
			words, err = longOption(table, w, words, c)
		case len(w) > 1 && w[0] == '-':
			words, err = shortOptions(table, w, words, c)
		default:
			rest = append(rest, w)
		}
		if err != nil {
			return rest, err
		}
	}
	return rest, nil
}

func longOption(table []option, w string, words []string, c *commandLine) ([]string, error) {
	name, value, glued := strings.Cut(w[2:], "=")
	o, err := findLong(table, name)
	if err != nil {
		return words, err
	}
	switch {
	case o.arg == noArg && glued:
		return words, fmt.Errorf("option --%s takes no value: %s", o.long, w)
	case o.arg == needsArg && !glued:
		if len(words) == 0 {
			return words, fmt.Errorf("Missing parameter for option --%s", o.long)
		}
		value, words = words[0], words[1:]
	}
	if o.arg == needsArg && value == "" || glued && o.arg == optionalArg && value == "" {
		return words, fmt.Errorf("Missing parameter for option --%s", o.long)
	}
	return words, o.set(c, value)
}

// findLong takes an exact name or an abbreviation that fits one option only.
func findLong(table []option, name string) (*option, error) {
	var found *option
	for i := range table {
		o := &table[i]
		if o.long == name {
			return o, nil
		}
		if name == "" || !strings.HasPrefix(o.long, name) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("Unknown option --%s: it could be --%s or --%s", name, found.long, o.long)
		}
		found = o
	}
	if found == nil {
		return nil, fmt.Errorf("Unknown option --%s", name)
	}
	return found, nil
}

func shortOptions(table []option, w string, words []string, c *commandLine) ([]string, error) {
	for i := 1; i < len(w); i++ {
		o := findShort(table, w[i])
		if o == nil {
			return words, fmt.Errorf("Unknown option -%c", w[i])
		}
		value := ""
		if o.arg != noArg {
			value = w[i+1:]
			i = len(w)
		}
		if o.arg == needsArg && value == "" {
			if len(words) == 0 || words[0] == "" {
				return words, fmt.Errorf("Missing parameter for option -%c", o.short)
			}
			value, words = words[0], words[1:]
		}
		if err := o.set(c, value); err != nil {
			return words, err
		}
	}
	return words, nil
}

func findShort(table []option, c byte) *option {
	for i := range table {
		if table[i].short == c {
			return &table[i]
		}
	}
	return nil
}
