package confparse

import "strings"

// Word is one word of a statement after quoting, escapes and substitutions.
type Word struct {
	Text   string
	Pos    Pos
	Quoted bool
}

// own is the text for a Config: a part of the file would keep all of the file in memory.
func (w *Word) own() string { return strings.Clone(w.Text) }

// Statement is a line: a keyword, its arguments and the block it opens, if any. The lines inside blocks that are lists
// (virtual_ipaddress, group, url lines, ...) are statements too: their first word is then data.
type Statement struct {
	Words []Word
	Block *Block // nil without braces
}

// Block is what stands between braces. Close is no place when the brace is missing.
type Block struct {
	Open, Close Pos
	Stmts       []*Statement
}

// Pos is the place of the first word.
func (s *Statement) Pos() Pos { return s.Words[0].Pos }
