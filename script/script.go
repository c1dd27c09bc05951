// Package script runs the commands that an operator configured: as the user named, checked before it is run, bounded in
// time, and killed together with everything it started.
package script

import "time"

// Command is a configured command line. The zero value runs nothing.
type Command struct {
	// Args is the program and its arguments, already split by the quoting rules of keepalived.conf(5); Args[0] is a path
	// or a name looked up in PATH.
	Args []string
	// User and Group are the names or numbers given with the command; empty means the default of the daemon
	// (script_user, else keepalived_script if it exists, else the daemon's own user).
	User, Group string
	// Timeout bounds the run; zero means no limit. At the limit the process group gets SIGTERM, 2 s later SIGKILL.
	Timeout time.Duration
}

// IsZero reports whether there is nothing to run.
func (c *Command) IsZero() bool { return c == nil || len(c.Args) == 0 }
