package migrate

import (
	"fmt"
	"slices"
	"strings"
)

// ipvsOption is an option of ipvsadm: what it is called and whether a word follows it.
type ipvsOption struct {
	short byte
	long  string
	arg   argKind
}

type argKind int

const (
	noArg argKind = iota
	oneArg
	optArg   // a following word that does not begin with -
	threeArg // --set
	command  // a command of its own, without argument
	commandArg
)

// ipvsOptions are those of ipvsadm 1.31.
var ipvsOptions = []ipvsOption{
	{'A', "add-service", command}, {'E', "edit-service", command}, {'D', "delete-service", command}, {'C', "clear", command},
	{'R', "restore", command}, {'S', "save", command}, {'a', "add-server", command}, {'e', "edit-server", command},
	{'d', "delete-server", command}, {'L', "list", command}, {'l', "list", command}, {'Z', "zero", command},
	{0, "set", threeArg}, {0, "start-daemon", commandArg}, {0, "stop-daemon", commandArg}, {'h', "help", command},
	{'t', "tcp-service", oneArg}, {'u', "udp-service", oneArg}, {0, "sctp-service", oneArg}, {'f', "fwmark-service", oneArg},
	{'6', "ipv6", noArg}, {'s', "scheduler", oneArg}, {'b', "sched-flags", oneArg}, {0, "pe", oneArg}, {'p', "persistent", optArg},
	{'M', "netmask", oneArg}, {'o', "ops", noArg}, {'r', "real-server", oneArg}, {'g', "gatewaying", noArg}, {'i', "ipip", noArg},
	{'m', "masquerading", noArg}, {0, "tun-type", oneArg}, {0, "tun-port", oneArg}, {0, "tun-nocsum", noArg}, {0, "tun-csum", noArg},
	{0, "tun-remcsum", noArg}, {'w', "weight", oneArg}, {'x', "u-threshold", oneArg}, {'y', "l-threshold", oneArg},
	{0, "mcast-interface", oneArg}, {0, "syncid", oneArg}, {0, "sync-maxlen", oneArg}, {0, "mcast-group", oneArg}, {0, "mcast-port", oneArg},
	{0, "mcast-ttl", oneArg}, {'c', "connection", noArg}, {0, "timeout", noArg}, {0, "daemon", noArg}, {0, "stats", noArg}, {0, "rate", noArg},
	{0, "thresholds", noArg}, {0, "persistent-conn", noArg}, {0, "nosort", noArg}, {0, "sort", noArg}, {'n', "numeric", noArg}, {0, "exact", noArg},
}

// rule is a line of rules: its command and its options by long name.
type rule struct {
	Origin
	cmd  string
	opts map[string]string
}

// parseRule reads the words of a line.
func parseRule(o Origin, words []string) (rule, error) {
	r := rule{o, "", map[string]string{}}
	take := func(opt ipvsOption, value string, has bool, rest []string) ([]string, error) {
		next := func() (string, error) {
			if len(rest) == 0 {
				return "", fmt.Errorf("--%s needs a value", opt.long)
			}
			w := rest[0]
			rest = rest[1:]
			return w, nil
		}
		var err error
		switch opt.arg {
		case oneArg, commandArg:
			if !has {
				if value, err = next(); err != nil {
					return rest, err
				}
			}
		case optArg:
			if !has && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				value, rest = rest[0], rest[1:]
			}
		case threeArg:
			for i := range 3 {
				w := value
				if i > 0 || !has {
					if w, err = next(); err != nil {
						return rest, err
					}
				}
				if i > 0 {
					value += " "
				} else {
					value = ""
				}
				value += w
			}
		case noArg, command:
			if has {
				return rest, fmt.Errorf("--%s takes no value", opt.long)
			}
		}
		if opt.arg >= threeArg {
			if r.cmd != "" {
				return rest, fmt.Errorf("--%s and --%s in one line", r.cmd, opt.long)
			}
			r.cmd = opt.long
			if opt.arg == command {
				return rest, nil
			}
		}
		if _, twice := r.opts[opt.long]; twice {
			return rest, fmt.Errorf("--%s stands twice", opt.long)
		}
		r.opts[opt.long] = value
		return rest, nil
	}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		var err error
		if long, is := strings.CutPrefix(w, "--"); is {
			long, value, has := strings.Cut(long, "=")
			opt, found := findOption(long)
			if !found {
				return r, fmt.Errorf("unknown option %s", shown(w))
			}
			if words, err = take(opt, value, has, words); err != nil {
				return r, err
			}
			continue
		}
		if len(w) < 2 || w[0] != '-' {
			return r, fmt.Errorf("%q is out of place", shown(w))
		}
		for i := 1; i < len(w); i++ {
			at := -1
			for n, o := range ipvsOptions {
				if o.short == w[i] {
					at = n
				}
			}
			if at < 0 {
				return r, fmt.Errorf("unknown option -%c", w[i])
			}
			opt := ipvsOptions[at]
			glued := opt.arg != noArg && opt.arg != command && i+1 < len(w)
			value := ""
			if glued {
				value = w[i+1:]
			}
			if words, err = take(opt, value, glued, words); err != nil {
				return r, err
			}
			if glued {
				break
			}
		}
	}
	if r.cmd == "" {
		return r, fmt.Errorf("no command such as -A or -a")
	}
	return r, nil
}

// findOption takes a long option or the beginning of exactly one.
func findOption(word string) (ipvsOption, bool) {
	var found []ipvsOption
	for _, o := range ipvsOptions {
		if o.long == word {
			return o, true
		}
		if word != "" && strings.HasPrefix(o.long, word) {
			found = append(found, o)
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	return ipvsOption{}, false
}

// ruleLines gives the lines of a file of rules: with or without the name of the command before them.
func ruleLines(in Input, each func(o Origin, words []string)) {
	for i, raw := range strings.Split(string(in.Text), "\n") {
		text := strings.TrimSpace(strings.TrimSuffix(raw, "\r"))
		if text == "" || text[0] == '#' {
			continue
		}
		words := strings.Fields(text)
		if base := words[0][strings.LastIndexByte(words[0], '/')+1:]; base == "ipvsadm" { // a line of a shell script
			words = words[1:]
			if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
				words = words[:i]
			}
		}
		for i, w := range words {
			words[i] = withoutQuotes(w)
		}
		each(Origin{in.Name, i + 1, shown(text)}, words)
	}
}

// withoutQuotes is a word without the quotation marks around it.
func withoutQuotes(w string) string {
	if n := len(w) - 1; n > 0 && (w[0] == '"' || w[0] == '\'') && w[n] == w[0] {
		return w[1:n]
	}
	return w
}
