package script

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultUser is the account that scripts run as when none is named and it exists, as the reference.
const DefaultUser = "keepalived_script"

// Account is who a script runs as.
type Account struct {
	UID, GID uint32
	// Groups are supplementary groups; normally none, the reference clears them unless asked for with "user:".
	Groups []uint32
	// Own says that it is the daemon's own account: nothing needs changing.
	Own bool
}

// Account says who would run the command: the command's user, else script_user, else keepalived_script if it exists, else the
// daemon's own. "user:" or "user:group" ask for the user's supplementary groups as well, s.Groups does so for all.
func (s Settings) Account(c *Command) (Account, error) {
	name, group := s.User, s.Group
	if c != nil && c.User != "" {
		name, group = c.User, c.Group
	}
	if name == "" {
		if u, err := user.Lookup(DefaultUser); err == nil {
			return lookup(u.Uid, "", s.Groups)
		}
		if s.Security {
			return Account{}, fmt.Errorf("%w: script security is on and neither a user for it, script_user nor the user %s exists", ErrNoAccount, DefaultUser)
		}
		return Own(), nil
	}
	return lookup(name, group, s.Groups)
}

// Own is the account of this process.
func Own() Account {
	return Account{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Own: true}
}

// capable tells whether this process has a capability of the first 32 (capabilities(7)), whatever its user is.
func capable(c uint) bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err != nil || data[0].Effective&(1<<c) != 0
}

// attainable says why root cannot become the account: containers may leave it without the capabilities for that.
func (a Account) attainable() error {
	uid, gid := a.UID != uint32(os.Geteuid()), a.GID != uint32(os.Getegid())
	if os.Geteuid() != 0 || (!uid || capable(unix.CAP_SETUID)) && (!gid || capable(unix.CAP_SETGID)) {
		return nil
	}
	return fmt.Errorf("%w: unable to set uid:gid %d:%d without CAP_SETUID and CAP_SETGID", ErrNoAccount, a.UID, a.GID)
}

// lookup finds an account. Its supplementary groups are wanted if all says so or name has a colon.
func lookup(name, group string, all bool) (Account, error) {
	name, after, colon := strings.Cut(name, ":")
	if after != "" && group == "" {
		group = after
	}
	all = all || colon
	var a Account
	u, err := user.Lookup(name)
	switch {
	case err == nil:
		a.UID, a.GID = number(u.Uid), number(u.Gid)
	default:
		n, nerr := strconv.ParseUint(name, 10, 32)
		if nerr != nil {
			return a, fmt.Errorf("%w: unknown user %q", ErrNoAccount, name)
		}
		a.UID = uint32(n)
		if u, err = user.LookupId(name); err == nil {
			a.GID = number(u.Gid)
		} else if group == "" {
			return a, fmt.Errorf("%w: no user has uid %s, and no group is named", ErrNoAccount, name)
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			n, nerr := strconv.ParseUint(group, 10, 32)
			if nerr != nil {
				return a, fmt.Errorf("%w: unknown group %q", ErrNoAccount, group)
			}
			a.GID = uint32(n)
		} else {
			a.GID = number(g.Gid)
		}
	}
	if all && u != nil {
		ids, err := u.GroupIds()
		if err != nil {
			return a, fmt.Errorf("%w: groups of user %q: %w", ErrNoAccount, name, err)
		}
		for _, id := range ids {
			a.Groups = append(a.Groups, number(id))
		}
	}
	a.Own = a.UID == uint32(os.Geteuid()) && a.GID == uint32(os.Getegid()) && (len(a.Groups) == 0 || !colon)
	return a, nil
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// may reports whether the account has the permission bits (1 search or execute, 2 write, 4 read) on path. Root may search anything and
// execute what has one x bit. A path that cannot be looked at is taken as permitted: running it will say what is wrong.
func (a Account) may(path string, bits uint32) (bool, uint32) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return !errors.Is(err, unix.ENOENT), 0
	}
	mode := st.Mode & 0o7777
	switch {
	case a.UID == 0:
		return st.Mode&unix.S_IFMT == unix.S_IFDIR || mode&0o111 != 0, mode
	case st.Uid == a.UID:
		return mode>>6&bits == bits, mode
	case st.Gid == a.GID || slices.Contains(a.Groups, st.Gid):
		return mode>>3&bits == bits, mode
	}
	return mode&bits == bits, mode
}

func userString(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + " (uid " + id + ")"
	}
	return "uid " + id
}

func groupString(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name + " (gid " + id + ")"
	}
	return "gid " + id
}

func ownerString(uid, gid uint32) string {
	us, gs := strconv.FormatUint(uint64(uid), 10), strconv.FormatUint(uint64(gid), 10)
	if u, err := user.LookupId(us); err == nil {
		us = u.Username
	}
	if g, err := user.LookupGroupId(gs); err == nil {
		gs = g.Name
	}
	return us + ":" + gs
}
