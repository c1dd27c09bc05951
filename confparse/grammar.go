package confparse

import (
	"fmt"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The grammar is small and blind: a file is statements, a statement is words and perhaps a block of statements. Meaning comes from
// the keyword tables. Participle carries it; its tokens are whole statements, which the scanner below has split already, because a
// token a word costs twenty times the time and five times the memory of the tree itself.
//
//	file      = item* .
//	item      = Plain | Open statement* Close .
type fileGrammar struct {
	Items []item `parser:"@@*"`
}

// item is a *Statement; participle wants an interface for a production written by hand.
type item interface{ Pos() Pos }

// Tokens: a statement without block, one whose block begins, an end of block.
const (
	tokPlain lexer.TokenType = iota + 1
	tokOpen
	tokClose
)

// maxDepth bounds nested blocks; the language needs seven.
const maxDepth = 100

// Parse builds the tree of s. The block it returns has neither an open nor a closing place.
func Parse(s *Source) (*Block, Diagnostics) {
	p := newParser(s)
	top := &Block{}
	for {
		items, more := p.next()
		for _, it := range items {
			top.Stmts = append(top.Stmts, it.(*Statement))
		}
		if !more {
			return top, p.diags
		}
	}
}

// parser turns lines into statements, one top-level statement at a time.
type parser struct {
	src     *Source
	grammar *participle.Parser[fileGrammar]
	diags   Diagnostics

	line, at int      // the next byte to look at
	open     []*Block // the blocks that are open, the innermost last
	skip     int      // blocks that are too deep
	held     scanned
	holding  bool

	stmts []Statement // arenas: what the pointers and slices of the tree point into
	words []Word
	queue []*Statement // statements of the tokens of one round
}

func newParser(s *Source) *parser {
	p := &parser{src: s}
	p.grammar = participle.MustBuild[fileGrammar](
		participle.Lexer(tokenKinds{}),
		participle.ParseTypeWith(p.item),
	)
	return p
}

// tokenKinds names the tokens for participle.
type tokenKinds struct{ lexer.Definition }

func (tokenKinds) Symbols() map[string]lexer.TokenType {
	return map[string]lexer.TokenType{"EOF": lexer.EOF, "Plain": tokPlain, "Open": tokOpen, "Close": tokClose}
}

// next parses one top-level statement; more is false at the end of the source.
func (p *parser) next() (items []item, more bool) {
	p.queue = p.queue[:0]
	tokens, err := lexer.Upgrade(p)
	if err == nil {
		var f *fileGrammar
		if f, err = p.grammar.ParseFromLexer(tokens); err == nil {
			return f.Items, p.line < len(p.src.lines) || p.holding
		}
	}
	p.report(Pos{}, "syntax", fmt.Sprintf("configuration cannot be parsed: %v", err))
	return nil, false
}

// item is participle's production of an item.
func (p *parser) item(lex *lexer.PeekingLexer) (item, error) {
	if t := lex.Peek(); t.Type != tokPlain && t.Type != tokOpen {
		return nil, participle.NextMatch
	}
	return p.statement(lex), nil
}

// statement builds what begins at the next token, which is no end of a block.
func (p *parser) statement(lex *lexer.PeekingLexer) *Statement {
	t := lex.Next()
	st := p.queue[t.Pos.Offset]
	if t.Type == tokPlain {
		return st
	}
	for {
		if t := lex.Peek(); t.Type == tokClose || t.EOF() {
			lex.Next()
			return st
		}
		st.Block.Stmts = append(st.Block.Stmts, p.statement(lex))
	}
}

// scanned is what the scanner found next.
type scanned struct {
	kind  byte // 's' statement, '{', '}', 0 at the end
	words []Word
	pos   Pos
}

// Next is the lexer: a token a statement, and the end where a top-level statement is complete.
func (p *parser) Next() (lexer.Token, error) {
	for {
		if len(p.open) == 0 && p.skip == 0 && len(p.queue) > 0 {
			return lexer.Token{Type: lexer.EOF}, nil
		}
		it := p.scan()
		switch it.kind {
		case 0:
			for i := len(p.open) - 1; i >= 0; i-- {
				p.diags = append(p.diags, Diagnostic{Pos: p.open[i].Open, Severity: Error, Code: "missing-close-brace", Exit: ExitConfig,
					Message: "'{' opened here is never closed: missing '}'"})
			}
			p.open, p.skip = p.open[:0], 0
			return lexer.Token{Type: lexer.EOF}, nil
		case '}':
			if p.skip > 0 {
				p.skip--
				continue
			}
			if len(p.open) == 0 {
				p.report(it.pos, "extra-close-brace", "'}' without a block to close")
				continue
			}
			p.open[len(p.open)-1].Close = it.pos
			p.open = p.open[:len(p.open)-1]
			return lexer.Token{Type: tokClose}, nil
		case '{':
			if p.skip == 0 {
				p.report(it.pos, "unexpected-open-brace", "'{' without a keyword before it")
			}
			p.skip++
		case 's':
			if p.skip > 0 {
				continue
			}
			st := p.newStatement(it.words)
			p.queue = append(p.queue, st)
			tok := lexer.Token{Type: tokPlain, Pos: lexer.Position{Offset: len(p.queue) - 1}}
			if next := p.scan(); next.kind == '{' {
				if len(p.open) == maxDepth {
					p.report(next.pos, "too-deep", fmt.Sprintf("blocks nested deeper than %d: ignored", maxDepth))
					p.skip++
					return tok, nil
				}
				st.Block = &Block{Open: next.pos}
				p.open = append(p.open, st.Block)
				tok.Type = tokOpen
			} else {
				p.held, p.holding = next, true
			}
			return tok, nil
		}
	}
}

// scan splits off the next statement or brace.
func (p *parser) scan() scanned {
	if p.holding {
		p.holding = false
		return p.held
	}
	for ; p.line < len(p.src.lines); p.line, p.at = p.line+1, 0 {
		text := p.src.lines[p.line].text
		first := len(p.words)
		shell := false
		for {
			for p.at < len(text) && isSpace(text[p.at]) {
				p.at++
			}
			if p.at == len(text) {
				break
			}
			if c := text[p.at]; c == '{' || c == '}' {
				if len(p.words) > first {
					return scanned{kind: 's', words: p.words[first:len(p.words):len(p.words)]}
				}
				pos := p.src.place(p.line, p.at)
				p.at++
				return scanned{kind: c, pos: pos}
			}
			pos := p.src.place(p.line, p.at)
			scan := scanWord
			if shell {
				scan = scanShellWord
			}
			w := scan(text, p.at)
			p.at = w.end
			if w.open >= 0 {
				p.report(p.src.place(p.line, w.open), "unmatched-quote", text[w.open:w.open+1]+" without its match on the line")
				if !shell {
					break
				}
			}
			if w.undef {
				p.report(pos, "undefined-parameter", "a parameter that is not defined")
			}
			if len(p.words) == first {
				shell = shellWords(w.text)
			}
			if len(p.words) == cap(p.words) {
				grown := make([]Word, len(p.words)-first, 1024+len(p.words)-first)
				copy(grown, p.words[first:])
				p.words, first = grown, 0
			}
			p.words = append(p.words, Word{Text: w.text, Pos: pos, Quoted: w.quoted})
		}
		if len(p.words) > first {
			p.line, p.at = p.line+1, 0
			return scanned{kind: 's', words: p.words[first:len(p.words):len(p.words)]}
		}
	}
	return scanned{}
}

func (p *parser) newStatement(words []Word) *Statement {
	if len(p.stmts) == cap(p.stmts) {
		p.stmts = make([]Statement, 0, 256)
	}
	p.stmts = append(p.stmts, Statement{Words: words})
	return &p.stmts[len(p.stmts)-1]
}

func (p *parser) report(pos Pos, code Code, message string) {
	p.diags = append(p.diags, Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: message})
}
