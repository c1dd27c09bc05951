package status

import (
	"bufio"
	"fmt"
	"strconv"

	"releve/confparse"
	"releve/script"
)

// text writes the data files: sections, blocks with one space, values with three, items of lists with five.
type text struct {
	w        *bufio.Writer
	accounts accounts
	programs programs
}

func newText(w *bufio.Writer, cfg *confparse.Config) *text {
	g := &cfg.Global
	return &text{w: w, accounts: accounts{settings: g.Scripts()}}
}

// accounts remembers whom commands run as: looking that up reads files.
type accounts struct {
	settings script.Settings
	known    map[[2]string]string
}

// of is `uid:gid` of a command, empty if there is no such account.
func (a *accounts) of(c *script.Command) string {
	key := [2]string{c.User, c.Group}
	s, ok := a.known[key]
	if !ok {
		if acct, err := a.settings.Account(c); err == nil {
			s = fmt.Sprintf("%d:%d", acct.UID, acct.GID)
		}
		if a.known == nil {
			a.known = map[[2]string]string{}
		}
		a.known[key] = s
	}
	return s
}

// command is a script with whom it runs as; empty for none.
func (t *text) command(c *script.Command) string {
	s := t.programs.command(c)
	if s == "" {
		return ""
	}
	if who := t.accounts.of(c); who != "" {
		s += ", uid:gid " + who
	}
	return s
}

func (t *text) put(words ...string) {
	for _, s := range words {
		t.w.WriteString(s)
	}
	t.w.WriteByte('\n')
}

func (t *text) section(title string)   { t.put("------< ", title, " >------") }
func (t *text) head(kind, name string) { t.put(" ", kind, " = ", name) }
func (t *text) item(s string)          { t.put("     ", s) }
func (t *text) top1(s string)          { t.put(" ", s) }

// top writes a value of a section itself.
func (t *text) top(label string, value any) { t.put(" ", label, " = ", show(value)) }

func (t *text) line(format string, args ...any) {
	t.w.WriteString("   ")
	fmt.Fprintf(t.w, format, args...)
	t.w.WriteByte('\n')
}

// row writes a value. There are hundred thousands of them in a large dump: the common types go without fmt.
func (t *text) row(label string, value any) { t.put("   ", label, " = ", show(value)) }

// sub writes a value of a value.
func (t *text) sub(label string, value any) { t.put("     ", label, " = ", show(value)) }

func show(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case uint8:
		return strconv.Itoa(int(v))
	case bool:
		return strconv.FormatBool(v)
	}
	return fmt.Sprint(value)
}

func (t *text) static(title string, n int, get func(int) string) {
	if n == 0 {
		return
	}
	t.section(title)
	for i := range n {
		t.item(get(i))
	}
}
