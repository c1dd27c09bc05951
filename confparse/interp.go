package confparse

import (
	"fmt"
	"strings"

	"releve/vrrp"
)

// interp walks a tree by the tables and collects what is written in raw blocks; complaints go to diags.
type interp struct {
	opt   CheckOptions
	host  *Machine
	top   *Table
	diags Diagnostics
	// opened are the places where the blocks around the present line were opened, innermost last.
	opened []Pos
	usages []*usage

	// broken are the words whose quotes do not match.
	broken map[Pos]bool

	raw *rawConfig
	// scripts and checkScripts count the commands that will be run by the VRRP and the checker part.
	scripts, checkScripts, daemonScripts int
	saidSecurity                         bool
	ipNames                              *ipNames
	// rulePrio is the next preference for rules of IPv4 and IPv6 that name none.
	rulePrio [2]uint32
	// garps are what instances share of how they announce.
	garps map[vrrp.GARPConfig]*vrrp.GARPConfig
	// What the lines being read belong to.
	vi    *rawInstance
	sg    *rawGroup
	vs    *rawVS
	rs    *rawRS
	rss   []rawRS // arena
	ck    *rawChecker
	url   *rawURL
	notif *rawNotify
	track *rawTrack
	vscr  *rawScript
	tfile *rawTrackFile
	tproc *rawTrackProcess
	bfd   *rawBFD
	garp  *rawGARPGroup
	vsg   *rawVSGroup
	tgrp  *rawTrackGroup
}

func (p *interp) add(d Diagnostic) *Diagnostic {
	if d.Severity == Note && d.Exit != ExitNone {
		d.Severity = Error
	}
	p.diags = append(p.diags, d)
	return &p.diags[len(p.diags)-1]
}

// bad is an error with exit code 5.
func (p *interp) bad(pos Pos, code Code, format string, a ...any) *Diagnostic {
	return p.add(Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: fmt.Sprintf(format, a...)})
}

// warn is a warning that sets exit code 5, as the reference's complaints do.
func (p *interp) warn(pos Pos, code Code, format string, a ...any) *Diagnostic {
	return p.add(Diagnostic{Pos: pos, Severity: Warning, Code: code, Exit: ExitConfig, Message: fmt.Sprintf(format, a...)})
}

// note says something that leaves the exit code alone.
func (p *interp) note(pos Pos, code Code, format string, a ...any) *Diagnostic {
	return p.add(Diagnostic{Pos: pos, Severity: Note, Code: code, Message: fmt.Sprintf(format, a...)})
}

// block reads the lines of a block by a table.
func (p *interp) block(t *Table, stmts []*Statement) {
	for _, s := range stmts {
		if len(s.Words) == 0 {
			continue
		}
		if t.item != nil {
			p.item(t, s)
			continue
		}
		p.statement(t, s)
	}
}

func (p *interp) item(t *Table, s *Statement) {
	if t.one {
		one := Statement{Words: make([]Word, 1)}
		for i := range s.Words {
			one.Words = s.Words[i : i+1 : i+1]
			t.item(p, &one)
		}
	} else {
		t.item(p, s)
	}
	if s.Block != nil {
		p.strayBlock(s)
	}
}

func (p *interp) statement(t *Table, s *Statement) {
	k, old := t.lookup(s.Words[0].Text)
	if k == nil || s.Words[0].Quoted {
		p.unknown(t, s)
		return
	}
	if old {
		d := p.note(s.Pos(), "deprecated", "%s is an old spelling, write %s", s.Words[0].Text, k.Name)
		d.Suggest = k.Name
	}
	if k.Deprecated != "" {
		d := p.warn(s.Pos(), "deprecated", "%s is deprecated: %s", s.Words[0].Text, k.Deprecated)
		if k.mild {
			d.Severity, d.Exit = Note, ExitNone
		}
	}
	u := p.usage(k, s)
	ok := p.decode(u)
	if k.Block == nil {
		if ok && k.set != nil {
			k.set(p, u)
		}
		if !ok && k.instead != nil && len(u.rest()) > 0 {
			k.instead(p, u)
		}
		if s.Block != nil {
			p.strayBlock(s)
		}
		return
	}
	if s.Block == nil {
		if !k.optionalBlock {
			p.bad(s.Pos(), "missing-open-brace", "%s opens a block: a { is missing", k.Name)
		}
		return
	}
	if !ok || (k.enter != nil && !k.enter(p, u)) {
		return
	}
	p.opened = append(p.opened, s.Block.Open)
	p.block(k.Block, s.Block.Stmts)
	p.opened = p.opened[:len(p.opened)-1]
	if k.leave != nil {
		k.leave(p, u)
	}
}

// usage is the place for the arguments of a statement: one for each depth, because they are large and there are many statements.
func (p *interp) usage(k *Keyword, s *Statement) *usage {
	depth := len(p.opened)
	for len(p.usages) <= depth {
		p.usages = append(p.usages, new(usage))
	}
	u := p.usages[depth]
	*u = usage{k: k, st: s}
	return u
}

// openedAt is where the present block was opened.
func (p *interp) openedAt() Pos {
	if n := len(p.opened); n > 0 {
		return p.opened[n-1]
	}
	return Pos{}
}

// strayBlock complains about braces behind a line that has none.
func (p *interp) strayBlock(s *Statement) {
	p.bad(s.Block.Open, "unexpected-open-brace", "%s does not open a block", s.Words[0].Text)
}

func blockName(t *Table) string {
	if t.Name == "" {
		return "the top level"
	}
	return t.Name
}

// unknown complains about a keyword that the block does not have, and says where it would belong.
func (p *interp) unknown(t *Table, s *Statement) {
	w := s.Words[0]
	d := Diagnostic{Pos: w.Pos, Severity: Error, Code: "unknown-keyword", Exit: ExitConfig, Opened: p.openedAt()}
	d.Suggest = nearest(w.Text, t.words())
	if m := meant[w.Text]; m != "" && (m == "#" || t.has(m)) {
		d.Suggest = m
	}
	switch {
	case strings.HasPrefix(w.Text, "//") || w.Text == ";":
		d.Suggest = "#"
		d.Message = fmt.Sprintf("%q begins no comment: comments begin with # or !", w.Text)
	case w.Text == "}" || w.Text == "{":
		d.Code = "stray-brace"
		d.Message = fmt.Sprintf("unexpected %s", w.Text)
		d.Suggest = ""
	case d.Suggest == "" && t != p.top && p.top.has(w.Text):
		d.Code = "misplaced-keyword"
		d.Message = fmt.Sprintf("%s belongs at the top level, not into %s: is a } missing?", w.Text, blockName(t))
	default:
		d.Message = fmt.Sprintf("unknown keyword %q in %s", w.Text, blockName(t))
		if d.Suggest == "" {
			if home := p.homeOf(w.Text, t); home != "" {
				d.Code = "misplaced-keyword"
				d.Message = fmt.Sprintf("%s is not known in %s, it belongs into %s", w.Text, blockName(t), home)
			}
		}
	}
	p.add(d)
}

func (t *Table) has(w string) bool { k, _ := t.lookup(w); return k != nil }

// homeOf names the blocks that have a keyword.
func (p *interp) homeOf(w string, not *Table) string {
	var in []string
	for _, t := range Tables() {
		if t == not || t.item != nil {
			continue
		}
		if t.has(w) {
			in = append(in, blockName(t))
		}
		if len(in) == 3 {
			break
		}
	}
	return orList(in)
}
