package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"releve/confparse"
)

// completionBash completes commands from the table, options from their help, and names of labs from what is there.
const completionBash = `# bash completion for releve, printed by releve keywords --completion
_releve_keywords='%s'
_releve() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} first=${COMP_WORDS[1]} second=${COMP_WORDS[2]} words=
	local commands='%s help version'
	if [ "$COMP_CWORD" = 1 ]; then
		words=$commands
		case $cur in -*) words=$("$1" --help 2>/dev/null | grep -o -E '^  (-.|  ), --[a-z_-]+|^ +--[a-z_-]+' | grep -o -e '--.*') ;; esac
	elif [[ $cur == -* && $first:$second != lab:shell ]]; then
		words=$("$1" "$first" --help 2>/dev/null | grep -o -E '(^| |, )--[a-z-]+' | tr -d ' ,' | sort -u)
	else
		case $first:$second:$prev: in
		lab:*:lab:*) words='list show run shell down dhcp-probe' ;;
		lab:run:run:* | lab:run:--on:* | lab:show:show:*) words=$("$1" lab list 2>/dev/null | sed -n '/^running:/!s/ .*//p') ;;
		lab:down:*:* | lab:shell:shell:* | capture:*:--lab:*) words=$("$1" lab list 2>/dev/null | sed -n 's/^running: \([^ ]*\) .*/\1/p') ;;
		lab:shell:*:*)
			if [ "$COMP_CWORD" = 4 ]; then
				words=$("$1" lab list 2>/dev/null | sed -n "s/^running: $prev (.*hosts \(.*\))$/\1/p" | tr -d ,)
			else
				words=$(compgen -c -- "$cur")
			fi ;;
		migrate:*:migrate:*) words='heartbeat ipvsadm ldirectord' ;;
		config:*:config:*) words=dump ;;
		man:*:man:*) words='releve genhash keepalived.conf' ;;
		help:*:help:*) words=$commands ;;
		keywords:*) words=$_releve_keywords ;;
		capture:*:-i:* | capture:*:--interface:*) words="any $(ls /sys/class/net 2>/dev/null)" ;;
		esac
	fi
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _releve releve
`

func writeCompletion(w io.Writer) error {
	var names []string
	for _, s := range subcommands {
		names = append(names, s.name)
	}
	slices.Sort(names)
	_, err := fmt.Fprintf(w, completionBash, strings.Join(confparse.Keywords(), " "), strings.Join(names, " "))
	return err
}
