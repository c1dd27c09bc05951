// Package migrate turns the configuration of Heartbeat, of ipvsadm and of ldirectord into keepalived.conf.
//
// Nothing of the source is executed. Every line that is written says in a comment which line of the source it came from, and
// every line of the source appears in the report: what it became, or why it has no equivalent and what to do instead. The
// same input gives the same bytes.
package migrate

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Input is a file of the source.
type Input struct {
	// Name is how the report and the comments call it, usually the base name.
	Name string
	// Path is where it is, for what people are told to do with it; empty is Name.
	Path string
	Text []byte
	// Mode is its permission bits; a file with secrets is refused if others may read it.
	Mode fs.FileMode
}

func (in *Input) path() string { return cmp.Or(in.Path, in.Name) }

// Kind is what became of a line of the source.
type Kind int

const (
	// Mapped has the same meaning in the result.
	Mapped Kind = iota
	// Changed has nearly the same meaning; the finding says what is different.
	Changed
	// Meaningless has no effect in the result and none is missed.
	Meaningless
	// Lost has no equivalent; the finding says what to do instead.
	Lost
	// Fault is a mistake of the source, which its own program would refuse or trip over.
	Fault
)

func (k Kind) String() string {
	return [...]string{"mapped", "mapped with a change", "no meaning here", "no equivalent", "error in the source"}[k]
}

// Origin is a line of the source. The zero value stands for something that no line says.
type Origin struct {
	File string
	// Line counts from 1.
	Line int
	// Text is the line as it may be shown: secrets are left out.
	Text string
}

func (o Origin) String() string {
	switch {
	case o.File == "":
		return o.Text
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d: %s", o.File, o.Line, o.Text)
}

// Finding is a line of the report.
type Finding struct {
	Origin
	Kind Kind
	// What says what the line became, or why it has no equivalent.
	What string
	// Instead is what to do; empty if nothing is to be done.
	Instead string
}

// File is a file of the result.
type File struct {
	// Name is relative to the folder of its node.
	Name string
	Mode fs.FileMode
	Text []byte
	// Secret files hold a key or password.
	Secret bool
}

// Node is what belongs on one director.
type Node struct {
	Name string
	// Files begin with keepalived.conf.
	Files []File
}

// Result is what a migration gives.
type Result struct {
	Nodes    []Node
	Findings []Finding
	// Differences are what the new daemon does differently in general, one sentence each.
	Differences []string
}

// Complete says that nothing was lost and the source has no fault.
func (r *Result) Complete() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == Lost || f.Kind == Fault })
}

// Report is the findings as text: by file and line, then the differences, then the numbers.
func (r *Result) Report() string {
	var b strings.Builder
	found := slices.Clone(r.Findings)
	files := []string{}
	for _, f := range found {
		if !slices.Contains(files, f.File) {
			files = append(files, f.File)
		}
	}
	slices.SortStableFunc(found, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(files, x.File), slices.Index(files, y.File)), cmp.Compare(x.Line, y.Line))
	})
	count := map[Kind]int{}
	last, lastLine := "", 0
	for i, f := range found {
		count[f.Kind]++
		if i == 0 || f.File != last {
			if i > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s\n", cmp.Or(f.File, "in general"))
			last, lastLine = f.File, 0
		}
		switch {
		case f.Line != 0 && f.Line != lastLine:
			fmt.Fprintf(&b, "%5d  %s\n", f.Line, f.Text)
		case f.Line == 0 && f.Text != "":
			fmt.Fprintf(&b, "       %s\n", f.Text)
		}
		lastLine = f.Line
		fmt.Fprintf(&b, "       %s: %s\n", f.Kind, f.What)
		if f.Instead != "" {
			fmt.Fprintf(&b, "       instead: %s\n", f.Instead)
		}
	}
	if len(r.Differences) > 0 {
		b.WriteString("\nWhat will be different\n")
		for _, d := range r.Differences {
			fmt.Fprintf(&b, "     - %s\n", d)
		}
	}
	fmt.Fprintf(&b, "\n%d mapped, %d mapped with a change, %d without meaning here, %d without equivalent, %d errors in the source\n",
		count[Mapped], count[Changed], count[Meaningless], count[Lost], count[Fault])
	return b.String()
}

// report collects findings.
type report struct{ found []Finding }

func (r *report) add(o Origin, k Kind, what, instead string) {
	f := Finding{o, k, what, instead}
	if !slices.Contains(r.found, f) {
		r.found = append(r.found, f)
	}
}

func (r *report) mapped(o Origin, format string, a ...any) {
	r.add(o, Mapped, fmt.Sprintf(format, a...), "")
}

func (r *report) changed(o Origin, instead, format string, a ...any) {
	r.add(o, Changed, fmt.Sprintf(format, a...), instead)
}

func (r *report) none(o Origin, format string, a ...any) {
	r.add(o, Meaningless, fmt.Sprintf(format, a...), "")
}

func (r *report) lost(o Origin, instead, format string, a ...any) {
	r.add(o, Lost, fmt.Sprintf(format, a...), instead)
}

func (r *report) fault(o Origin, instead, format string, a ...any) {
	r.add(o, Fault, fmt.Sprintf(format, a...), instead)
}

// shown is text fit for a comment or report: one line, printable, of bounded length.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
	if runes := []rune(s); len(runes) > 120 {
		s = string(runes[:117]) + "..."
	}
	return s
}
