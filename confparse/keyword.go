package confparse

import (
	"math/bits"
	"sync"
)

// Kind is what an argument of a keyword is.
type Kind uint8

// Kinds of arguments.
const (
	Text      Kind = iota // any word
	Number                // a whole number from Min to Max
	Seconds               // seconds with up to six decimals
	Millis                // milliseconds with up to three decimals
	Bool                  // on, off, true, false, yes, no
	Choice                // one of Words
	Address               // an IPv4 or IPv6 address
	Interface             // the name of a network interface
	File                  // a path
	Script                // a command line: one word, or several in double quotes
	User                  // a user name or number
	Group                 // a group name or number, `:` in front adds the user's supplementary groups
	Rest                  // anything up to the end of the line
)

// Arg is one argument of a keyword.
type Arg struct {
	// Name is how help texts call it: "SECONDS", "PRIORITY".
	Name string
	Kind Kind
	// Min and Max bound numbers and times, in the unit of the kind; both zero: no bounds but those of the type.
	Min, Max float64
	// Words are the values of a Choice.
	Words []string
	// Optional says that the line may end before it.
	Optional bool
}

// Keyword is a row of a table: all that there is to know about a keyword.
type Keyword struct {
	Name string
	// Aliases are other spellings, as good as the first; OldNames still work but are complained about.
	Aliases, OldNames []string
	Args              []Arg
	// Default is what counts without the keyword, in words of the configuration; empty: nothing.
	Default string
	// Deprecated says what to write instead; empty for keywords in good standing.
	Deprecated string
	// Since is the version of keepalived.conf(5) that first had it, where that is later than 2.0.
	Since string
	// Help is one line.
	Help string
	// Room is the part of the program that acts on it.
	Room string
	// Secret marks values that must not be shown.
	Secret bool
	// Missing is the exit code of a line without its required argument: ExitStop where the reference ends at once.
	Missing Exit
	// Block is the table of the lines inside its braces; nil for a line without braces.
	Block *Table
	// Build names the build option of the reference without which it does not know the keyword: "SNMP", "DBus", "iptables".
	Build string

	// set stores the values. It is called only when all arguments are right.
	set func(p *interp, u *usage)
	// instead stores what counts when the arguments are there but wrong, where that is not what counts without the line.
	instead func(p *interp, u *usage)
	// enter is called before the lines of the block; when it returns false they are skipped. leave is called behind them.
	enter func(p *interp, u *usage) bool
	leave func(p *interp, u *usage)
	// mild is a deprecation that the reference says nothing about.
	mild bool
	// optionalBlock allows the line without braces.
	optionalBlock bool
}

// missingNote is the Missing of keywords whose argument the reference does not miss.
const missingNote Exit = 1

// Table is the keywords of one block, or the form of its lines where they are data.
type Table struct {
	// Name is the block's name: "vrrp_instance"; "" is the top level.
	Name string
	// rows makes the rows, when the table is looked at for the first time: most configurations need a few of them only.
	rows func() []Keyword
	// Item describes the lines of a list block: "ADDRESS[/MASK] [dev IF] ...". Empty for blocks of keywords.
	Item string
	// item takes one line of a list block.
	item func(p *interp, s *Statement)
	// one says that each word of a list block is an item of its own.
	one bool

	made  sync.Once
	list  []Keyword
	once  sync.Once
	index []spelling // a hash table, of a power of two
}

// spelling is a word for a keyword; the zero value is a free place of the index.
type spelling struct {
	word string
	k    *Keyword
	old  bool
}

// slot is where the index looks for a word first. It is quick to tell, and good enough for the words of a language.
func slot(word string) uint {
	n := uint(len(word))
	if n == 0 {
		return 0
	}
	return n + uint(word[0])*3 + uint(word[n/2])*37 + uint(word[n-1])*11
}

// enter puts a word into the index; of two that are alike the later one counts.
func (t *Table) enter(s spelling) {
	mask := uint(len(t.index) - 1)
	i := slot(s.word) & mask
	for t.index[i].k != nil && t.index[i].word != s.word {
		i = (i + 1) & mask
	}
	t.index[i] = s
}

// Rows are the keywords of the block, in the order of the manual.
func (t *Table) Rows() []Keyword {
	t.made.Do(func() {
		if t.rows != nil {
			t.list = t.rows()
		}
	})
	return t.list
}

// lookup finds a keyword by any of its spellings; old reports that it is a deprecated one.
func (t *Table) lookup(word string) (k *Keyword, old bool) {
	t.once.Do(func() {
		rows := t.Rows()
		n := 0
		for i := range rows {
			n += 1 + len(rows[i].Aliases) + len(rows[i].OldNames)
		}
		t.index = make([]spelling, 2<<bits.Len(uint(n)))
		for i := range rows {
			k := &rows[i]
			t.enter(spelling{word: k.Name, k: k})
			for _, a := range k.Aliases {
				t.enter(spelling{word: a, k: k})
			}
			for _, o := range k.OldNames {
				t.enter(spelling{word: o, k: k, old: o != k.Name})
			}
		}
	})
	mask := uint(len(t.index) - 1)
	for i := slot(word) & mask; t.index[i].k != nil; i = (i + 1) & mask {
		if t.index[i].word == word {
			return t.index[i].k, t.index[i].old
		}
	}
	return nil, false
}

// words is all spellings in good standing, for suggestions and completion.
func (t *Table) words() []string {
	var w []string
	for _, k := range t.Rows() {
		w = append(w, k.Name)
		w = append(w, k.Aliases...)
	}
	return w
}

func num(name string, lo, hi float64) Arg  { return Arg{Name: name, Kind: Number, Min: lo, Max: hi} }
func secs(name string, lo, hi float64) Arg { return Arg{Name: name, Kind: Seconds, Min: lo, Max: hi} }
func word(name string) Arg                 { return Arg{Name: name, Kind: Text} }
func choice(name string, w ...string) Arg  { return Arg{Name: name, Kind: Choice, Words: w} }
func addr(name string) Arg                 { return Arg{Name: name, Kind: Address} }
func iface(name string) Arg                { return Arg{Name: name, Kind: Interface} }
func pathArg(name string) Arg              { return Arg{Name: name, Kind: File} }
func boolean() Arg                         { return Arg{Name: "BOOL", Kind: Bool} }
func rest(name string) Arg                 { return Arg{Name: name, Kind: Rest, Optional: true} }

// opt makes an argument optional.
func (a Arg) opt() Arg { a.Optional = true; return a }

func args(a ...Arg) []Arg { return a }

// command is the arguments of a script: the line and who runs it.
func command() []Arg {
	return []Arg{{Name: "SCRIPT", Kind: Script}, {Name: "USER", Kind: User, Optional: true}, {Name: "GROUP", Kind: Group, Optional: true}}
}
