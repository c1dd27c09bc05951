package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"releve/confparse"
)

// request is what a client of the control socket wants: one JSON object, answered by one.
type request struct {
	Command string `json:"command"` // reload, status, plan, lvs, why
	// File is what to plan; empty: the daemon's own configuration file.
	File string `json:"file,omitempty"`
	// Stream is what to plan, if the client had to read it; nil: File.
	Stream *confparse.Stream `json:"stream,omitempty"`
}

// Answer is what a running daemon says to a client of its control socket.
type Answer struct {
	OK bool `json:"ok"`
	// Text says why not; of a reload that was taken, which part has not said that it has taken it over.
	Text string `json:"text,omitempty"`
	// Complaints are those about the file that was read.
	Complaints []string `json:"complaints,omitempty"`
	Status     *Status  `json:"status,omitempty"`
	// Plan is what would change, or what a reload has changed.
	Plan *Plan `json:"plan,omitempty"`
	// LVS is how the virtual servers are, a director.Health.
	LVS json.RawMessage `json:"lvs,omitempty"`
	// VRRP is why the instances are as they are, a vrrp.Report.
	VRRP json.RawMessage `json:"vrrp,omitempty"`
}

// Status is how a daemon is doing, as its parent knows it.
type Status struct {
	Version string    `json:"version"`
	Pid     int       `json:"pid"`
	Started time.Time `json:"started"`
	Config  string    `json:"config"`
	// LastReload is how the last reload went; nil before the first.
	LastReload *ReloadOutcome `json:"last_reload,omitempty"`
	Parts      []PartStatus   `json:"parts"`
}

// Ailing reports whether a part that should run does not, or does not answer. A nil Status is not ailing.
func (s *Status) Ailing() bool {
	return s != nil && slices.ContainsFunc(s.Parts, func(p PartStatus) bool { return p.Pid == 0 || p.Silent != "" })
}

// ReloadOutcome is how a reload went.
type ReloadOutcome struct {
	At         time.Time `json:"at"`
	Taken      bool      `json:"taken"`
	Why        string    `json:"why,omitempty"` // it was refused
	Complaints []string  `json:"complaints,omitempty"`
	// Changes are what it changed, in a few lines; the plan itself is kept for those who asked for the reload.
	Changes []string `json:"changes,omitempty"`
	// Late says which part has agreed to it and gave no word that it has taken it over.
	Late string `json:"late,omitempty"`

	plan *Plan
}

// PartStatus is one part.
type PartStatus struct {
	Name    string            `json:"name"`
	Pid     int               `json:"pid"` // 0: it does not run
	Ready   bool              `json:"ready"`
	Started time.Time         `json:"started"`
	Starts  int               `json:"starts"`
	States  map[string]string `json:"states,omitempty"` // of VRRP instances
	// End is how the run before this one ended, if nobody had asked it to, and EndedAt when. Of a part that does not run NextStart is when it
	// is started again.
	End       string    `json:"end,omitempty"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	NextStart time.Time `json:"next_start,omitzero"`
	// Silent says why the part, which runs, does not answer; empty if it does. Then, and while it does not run, LastStates stands for
	// States: what it said last.
	Silent     string            `json:"silent,omitempty"`
	LastStates map[string]string `json:"last_states,omitempty"`
	// StoppedSince is since when a signal has it stopped; zero: it is not.
	StoppedSince time.Time `json:"stopped_since,omitzero"`
	// Goroutines is as of the start or the last reload, Files are the open descriptors now.
	Goroutines int `json:"goroutines,omitempty"`
	Files      int `json:"files,omitempty"`
}

// Times of the control socket.
const (
	controlPatience = 5 * time.Second    // to say what is wanted
	answerPatience  = reloadPatience * 4 // to get an answer
	maxRequest      = 96 << 20           // bytes; the longest text of a configuration, and what JSON adds to it
	maxAnswer       = 64 << 20           // bytes
	controlClients  = 64                 // at a time; who comes then is told so at once
	acceptPause     = time.Second        // after a client that could not be taken: no descriptors, no memory
)

// SocketPath is the control socket that belongs to a pid file of a parent.
func SocketPath(pidFile string) string { return strings.TrimSuffix(pidFile, ".pid") + ".sock" }

// control listens for clients. Nobody but the daemon's user may connect.
type control struct {
	l    *net.UnixListener
	path string
}

// openControl takes the place of a socket that a dead predecessor left. One at which somebody listens is another program's: ours would hold
// the lock of the pid file.
func openControl(path string, log *slog.Logger, ask func(request) Answer) (*control, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("control socket %s: something else is there", path)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("control socket %s: another program listens there", path)
		}
		os.Remove(path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) // the umask leaves nothing to others
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	go acceptClients(l, log, func(conn *net.UnixConn) { serve(conn, ask) })
	return &control{l, path}, nil
}

// acceptClients serves clients until l is closed. One that cannot be taken (no descriptors are left) is no reason to hear nobody any more:
// the socket would still be there, and whoever connects would wait for ever.
func acceptClients(l interface {
	AcceptUnix() (*net.UnixConn, error)
}, log *slog.Logger, serve func(*net.UnixConn)) {
	slots, failed := make(chan struct{}, controlClients), false
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !failed {
				log.Warn("control socket: " + err.Error())
			}
			failed = true
			<-time.After(acceptPause)
			continue
		}
		failed = false
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				serve(conn)
			}()
		default:
			say(conn, Answer{Text: fmt.Sprintf("%d clients are being served, and more are not: try again in some seconds", controlClients)})
			conn.Close()
		}
	}
}

// close ends the socket; it removes its file.
func (c *control) close() {
	if c != nil {
		c.l.Close()
	}
}

// serve answers one client.
func serve(conn *net.UnixConn, ask func(request) Answer) {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(controlPatience))
	var r request
	answer := Answer{Text: "the request is no JSON object"}
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&r); err == nil {
		answer = ask(r)
	}
	say(conn, answer)
}

func say(conn *net.UnixConn, answer Answer) {
	conn.SetWriteDeadline(time.Now().Add(controlPatience))
	json.NewEncoder(conn).Encode(answer)
}

// ErrNoDaemon is that nobody listens at the control socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Ask sends a command to the daemon whose parent has the given pid file.
func Ask(pidFile, command string) (*Answer, error) { return ask(pidFile, request{Command: command}) }

func dial(path string) (*net.UnixConn, error) {
	conn, err := net.DialTimeout("unix", path, controlPatience)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func ask(pidFile string, r request) (*Answer, error) {
	path := SocketPath(pidFile)
	conn, err := dial(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s: none runs, or its pid file is another one (-p)", ErrNoDaemon, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w at %s: only the daemon's user may ask", ErrNoDaemon, path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerPatience))
	held := watchPeer(conn)
	defer held.end()
	asked := json.NewEncoder(conn).Encode(r) // who is turned away has the answer already
	var a Answer
	if err := json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&a); err != nil {
		if why := held.why(); why != "" {
			return nil, fmt.Errorf("%w: %s", ErrNoDaemon, why)
		}
		if asked != nil {
			return nil, fmt.Errorf("ask the daemon at %s: %w", path, asked)
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("it ended without an answer")
		}
		return nil, fmt.Errorf("answer of the daemon at %s: %w", path, err)
	}
	return &a, nil
}

// ask is called by the goroutines of clients; the parent's loop does the work.
func (p *parent) ask(r request) Answer {
	reply := make(chan Answer, 1)
	select {
	case p.events <- func() { p.answer(r, reply) }:
	case <-p.ended:
		return Answer{Text: "the daemon is stopping"}
	}
	select {
	case a := <-reply:
		return a
	case <-p.ended:
	case <-time.After(answerPatience):
	}
	select {
	case a := <-reply: // it was given just before the end
		return a
	default:
		return Answer{Text: "the daemon is stopping"}
	}
}

// answer runs in the parent's loop.
func (p *parent) answer(r request, reply chan<- Answer) {
	switch r.Command {
	case "status":
		p.poll(reply)
	case "plan":
		p.planFor(r, reply)
	case "lvs":
		p.passQuestion(partChecker, reply)
	case "why":
		p.passQuestion(partVRRP, reply)
	case "reload":
		if p.stopping {
			reply <- Answer{Text: "the daemon is stopping"}
			return
		}
		p.waiting = append(p.waiting, reply)
		p.requestReload()
	default:
		reply <- Answer{Text: fmt.Sprintf("unknown command %q", r.Command)}
	}
}

// report is what the parent knows; silent are the parts that should have given a sign of life and have not.
func (p *parent) report(silent map[*child]bool) *Status {
	s := &Status{Version: Build, Pid: os.Getpid(), Started: p.started, Config: p.o.configFile(), LastReload: p.last}
	for _, c := range p.children {
		if !c.wanted {
			continue
		}
		ps := PartStatus{Name: c.name, Ready: c.ready, Started: c.started, Starts: c.run}
		if ps.End = c.end; c.end != "" {
			ps.EndedAt = c.endedAt
			if c.proc == nil {
				ps.NextStart = c.next
			}
		}
		if c.proc != nil {
			ps.Pid, ps.Goroutines = c.pid, c.goroutines
			files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
			ps.Files = len(files)
		}
		if c.proc != nil {
			if ps.StoppedSince = c.stopped; silent[c] {
				ps.Silent = c.mute()
			} else {
				ps.Silent = c.silence()
			}
		}
		switch states := maps.Clone(c.states); {
		case len(states) == 0:
		case ps.Pid == 0 || ps.Silent != "": // what they are now nobody knows
			ps.LastStates = states
		default:
			ps.States = states
		}
		s.Parts = append(s.Parts, ps)
	}
	return s
}
