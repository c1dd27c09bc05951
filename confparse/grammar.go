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
		stmts, more := p.next()
		top.Stmts = append(top.Stmts, stmts...)
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

	line, at int        // the next byte to look at
	round    int        // how many statements next makes at least, if there are so many
	open     []opened   // the innermost last
	suspect  *opened    // a block that was probably left open, though another lacks its brace
	skip     int        // blocks that are passed over
	again    [2]scanned // what was looked at ahead
	ahead    int        // how many of again there are

	stack []*Statement // of the blocks that are being built
	queue []*Statement // of the tokens of one round

	peek   *lexer.PeekingLexer
	tokens []lexer.Token // what peek holds

	reuse  bool        // what next returned is not needed any more at the next call
	stmts  []Statement // arenas: what the pointers and slices of the tree point into
	words  []Word
	blocks []Block
	lists  []*Statement
}

// opened is a block that is open, and where its statement begins.
type opened struct {
	block *Block
	start Pos
}

// outermost reports whether a keyword begins a block that stands in no other.
func outermost(keyword string) bool {
	switch keyword {
	case "global_defs", "vrrp_instance", "vrrp_sync_group", "vrrp_script", "vrrp_track_process", "vrrp_track_file", "virtual_server",
		"virtual_server_group", "static_ipaddress", "static_routes", "static_rules", "bfd_instance", "linkbeat_interfaces",
		"interface_up_down_delays", "garp_group":
		return true
	}
	return false
}

func newParser(s *Source) *parser {
	p := &parser{src: s, round: 512}
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

// next parses a round of top-level statements; more is false at the end of the source. The slice is good until the next call.
func (p *parser) next() (stmts []*Statement, more bool) {
	p.queue, p.stack = p.queue[:0], p.stack[:0]
	if p.reuse && p.ahead == 0 {
		p.stmts, p.words, p.blocks, p.lists = p.stmts[:0], p.words[:0], p.blocks[:0], p.lists[:0]
	}
	f, err := p.grammar.ParseFromLexer(p.fill())
	if err == nil {
		for _, it := range f.Items {
			p.stack = append(p.stack, it.(*Statement))
		}
		return p.stack, p.line < len(p.src.lines) || p.ahead > 0
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

// fill collects the tokens of a round. Participle's lexer makes a slice of tokens each time; this one fills the same
// again, because they would be most of the garbage of a large file.
func (p *parser) fill() *lexer.PeekingLexer {
	for n := 0; ; n++ {
		if n >= len(p.tokens) {
			old, room := p.tokens, max(32, 4*n)
			p.peek, _ = lexer.Upgrade(&blankTokens{room})
			p.tokens = p.peek.Range(0, lexer.RawCursor(room))
			copy(p.tokens, old)
		}
		t := &p.tokens[n]
		t.Type, t.Pos.Offset = p.token()
		if t.Type == lexer.EOF {
			p.peek.LoadCheckpoint(lexer.Checkpoint{})
			return p.peek
		}
	}
}

// blankTokens is a lexer with a number of tokens that mean nothing.
type blankTokens struct{ left int }

// Next implements lexer.Lexer.
func (b *blankTokens) Next() (lexer.Token, error) {
	if b.left == 0 {
		return lexer.EOFToken(lexer.Position{}), nil
	}
	b.left--
	return lexer.Token{Type: tokPlain}, nil
}

// statement builds what begins at the next token, which is no end of a block.
func (p *parser) statement(lex *lexer.PeekingLexer) *Statement {
	t := lex.Next()
	st := p.queue[t.Pos.Offset]
	if t.Type == tokPlain {
		return st
	}
	first := len(p.stack)
	for {
		if t := lex.Peek(); t.Type == tokClose || t.EOF() {
			lex.Next()
			break
		}
		p.stack = append(p.stack, p.statement(lex))
	}
	st.Block.Stmts = p.keep(p.stack[first:])
	p.stack = p.stack[:first]
	return st
}

// scanned is what the scanner found next.
type scanned struct {
	kind  byte // 's' statement, '{', '}', 0 at the end
	words []Word
	pos   Pos
}

// token is the lexer: the kind of the next token, a token a statement, and where in the queue its statement stands. It ends where a
// top-level statement is complete and the round has enough of them.
func (p *parser) token() (lexer.TokenType, int) {
	for {
		if len(p.open) == 0 && p.skip == 0 && len(p.queue) >= p.round {
			return lexer.EOF, 0
		}
		it := p.scan()
		switch it.kind {
		case 0:
			p.leftOpen("at the end")
			return lexer.EOF, 0
		case '}':
			switch {
			case p.skip > 0:
				p.skip--
			case len(p.open) == 0:
				p.report(it.pos, "extra-close-brace", "'}' without a block to close")
			default:
				p.close(it.pos)
				return tokClose, 0
			}
		case '{':
			if p.skip == 0 {
				p.report(it.pos, "unexpected-open-brace", "'{' without a keyword before it: ignored up to its '}'")
			}
			p.skip++
		case 's':
			if p.skip > 0 {
				continue
			}
			next := p.scan()
			if next.kind == '{' && len(p.open) > 0 && outermost(it.words[0].Text) {
				// A block was left open. The rest is read as if it were not, from here on again.
				p.leftOpen(fmt.Sprintf("before the %s of line %d", it.words[0].Text, it.words[0].Pos.Line))
				p.again, p.ahead = [2]scanned{it, next}, 2
				return lexer.EOF, 0
			}
			return p.statementToken(it, next)
		}
	}
}

// statementToken makes the token of a statement; next is what follows it.
func (p *parser) statementToken(it, next scanned) (lexer.TokenType, int) {
	st := p.newStatement(it.words)
	p.queue = append(p.queue, st)
	n := len(p.queue) - 1
	switch {
	case next.kind != '{':
		p.again[0], p.ahead = next, 1
	case len(p.open) == maxDepth:
		p.report(next.pos, "too-deep", fmt.Sprintf("blocks nested deeper than %d: ignored", maxDepth))
		p.skip++
	default:
		st.Block = p.newBlock(next.pos)
		p.open = append(p.open, opened{st.Block, it.words[0].Pos})
		return tokOpen, n
	}
	return tokPlain, n
}

// close ends the innermost block. A brace that stands below the beginning of another block than that says which one was left open.
func (p *parser) close(pos Pos) {
	in := p.open[len(p.open)-1]
	in.block.Close = pos
	p.open = p.open[:len(p.open)-1]
	if len(p.open) == 0 { // the braces so far have their matches, wherever they stand
		p.suspect = nil
		return
	}
	if p.suspect != nil || in.start.Line == pos.Line || in.start.Col == pos.Col || in.start.Origin != pos.Origin {
		return
	}
	for _, out := range p.open {
		if out.start.Origin == pos.Origin && out.start.Col == pos.Col {
			suspect := in // a copy, so that only this one is on the heap
			p.suspect = &suspect
			return
		}
	}
}

// leftOpen reports blocks without their end, once, at the one where the brace probably lacks.
func (p *parser) leftOpen(where string) {
	if n := len(p.open); n > 0 {
		in := p.open[n-1]
		if p.suspect != nil {
			in = *p.suspect
		}
		what := "the block opened here is not closed"
		if n > 1 {
			what = fmt.Sprintf("the block opened here, and %d around it, are not closed", n-1)
		}
		p.diags = append(p.diags, Diagnostic{Pos: in.start, Severity: Error, Code: "missing-close-brace", Exit: ExitConfig,
			Message: fmt.Sprintf("%s: '}' is missing %s", what, where)})
	}
	p.open, p.suspect, p.skip = p.open[:0], nil, 0
}

// scan splits off the next statement or brace.
func (p *parser) scan() scanned {
	if p.ahead > 0 {
		it := p.again[0]
		p.again[0] = p.again[1]
		p.ahead--
		return it
	}
	for ; p.line < len(p.src.lines); p.line, p.at = p.line+1, 0 {
		text := p.src.lines[p.line].text
		place := p.src.placesIn(p.line)
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
				pos := place.of(p.at)
				p.at++
				return scanned{kind: c, pos: pos}
			}
			pos := place.of(p.at)
			if text[p.at] != '"' && !shell { // the common word
				end := p.at + 1
				for end < len(text) && !ends[text[end]] {
					end++
				}
				if end == len(text) || text[end] != '{' || text[end-1] != '$' {
					w := text[p.at:end]
					p.at = end
					if len(p.words) == first {
						shell = shellWords(w)
					}
					first = p.addWord(first, Word{Text: w, Pos: pos})
					continue
				}
			}
			scan := scanWord
			if shell {
				scan = scanShellWord
			}
			w := scan(text, p.at)
			p.at = w.end
			if w.open >= 0 {
				p.report(place.of(w.open), "unmatched-quote", text[w.open:w.open+1]+" without its match on the line")
				if shell { // the reference reads nothing of such a line
					p.words = p.words[:first]
				}
				break
			}
			if w.brace >= 0 {
				p.report(place.of(w.brace), "brace-in-single-quotes", "a brace within single quotes, which do not keep it: use double quotes")
			}
			if w.undef {
				p.report(pos, "undefined-parameter", "a parameter that is not defined")
			}
			if len(p.words) == first {
				shell = shellWords(w.text)
			}
			first = p.addWord(first, Word{Text: w.text, Pos: pos, Quoted: w.quoted})
		}
		if len(p.words) > first {
			p.line, p.at = p.line+1, 0
			return scanned{kind: 's', words: p.words[first:len(p.words):len(p.words)]}
		}
	}
	return scanned{}
}

// addWord adds a word to the statement whose first one stands at first, which moves where the arena was full.
func (p *parser) addWord(first int, w Word) int {
	if len(p.words) == cap(p.words) {
		grown := make([]Word, len(p.words)-first, larger(cap(p.words), 512)+len(p.words)-first)
		copy(grown, p.words[first:])
		p.words, first = grown, 0
	}
	p.words = append(p.words, w)
	return first
}

// larger is the size of an arena that follows a full one, until one holds a round.
func larger(full, first int) int { return min(max(first, 2*full), 4096) }

func (p *parser) newStatement(words []Word) *Statement {
	if len(p.stmts) == cap(p.stmts) {
		p.stmts = make([]Statement, 0, larger(cap(p.stmts), 128))
	}
	p.stmts = append(p.stmts, Statement{Words: words})
	return &p.stmts[len(p.stmts)-1]
}

func (p *parser) newBlock(open Pos) *Block {
	if len(p.blocks) == cap(p.blocks) {
		p.blocks = make([]Block, 0, larger(cap(p.blocks), 64))
	}
	p.blocks = append(p.blocks, Block{Open: open})
	return &p.blocks[len(p.blocks)-1]
}

// keep copies a list that is complete.
func (p *parser) keep(list []*Statement) []*Statement {
	if len(list) == 0 {
		return nil
	}
	if n := len(p.lists); n+len(list) > cap(p.lists) {
		p.lists = make([]*Statement, 0, max(larger(cap(p.lists), 256), len(list)))
	}
	n := len(p.lists)
	p.lists = append(p.lists, list...)
	return p.lists[n:len(p.lists):len(p.lists)]
}

func (p *parser) report(pos Pos, code Code, message string) {
	p.diags = append(p.diags, Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Message: message})
}
