package status

import (
	"bufio"
	"fmt"
	"time"

	"releve/bfd"
	"releve/confparse"
)

// BFDData writes keepalived_bfd.data: the global definitions and the sessions.
func BFDData(w *bufio.Writer, cfg *confparse.Config, sessions []bfd.Status) {
	t := newText(w, cfg)
	t.global(cfg)
	t.section("BFD Topology")
	for i := range sessions {
		t.session(&sessions[i])
	}
}

func (t *text) session(s *bfd.Status) {
	c := s.Config
	us := func(d time.Duration) string { return fmt.Sprintf("%d us", d.Microseconds()) }
	yes := func(b bool) string {
		if b {
			return "Yes"
		}
		return "No"
	}
	t.head("BFD Instance", c.Name)
	t.row("Neighbor IP", c.Neighbor)
	if c.Src.IsValid() {
		t.row("Source IP", c.Src)
	}
	t.row("Required min RX interval", us(c.MinRx))
	t.row("Desired min TX interval", us(c.MinTx))
	t.row("Desired idle TX interval", us(c.IdleTx))
	t.row("Detection multiplier", c.Multiplier)
	if c.Neighbor.Is6() {
		t.row("Hoplimit", c.TTL)
	} else {
		t.row("TTL", c.TTL)
	}
	t.row("max_hops", c.MaxHops)
	if c.Multihop {
		t.row("multihop", c.Multihop)
	}
	t.row("passive", c.Passive)
	t.row("send event to VRRP process", yes(c.TellVRRP))
	t.row("send event to checker process", yes(c.TellChecker))
	t.row("send error", s.SendError != "")
	if s.SendError != "" {
		t.row("last send error", s.SendError)
	}
	t.row("local state", s.State.String())
	t.row("remote state", s.RemoteState.String())
	t.row("local discriminator", fmt.Sprintf("%#x", s.Discr))
	t.row("remote discriminator", fmt.Sprintf("0x%x", s.RemoteDiscr))
	t.row("local diag", s.Diag)
	t.row("remote diag", s.RemoteDiag)
	t.row("remote min tx intv", us(s.RemoteTx))
	t.row("remote min rx intv", us(s.RemoteRx))
	t.row("local demand", 0) // demand mode is never asked for (RFC 5880 section 6.6)
	t.row("remote demand", 0)
	t.row("remote detect multiplier", s.RemoteMult)
	t.line("%s", map[bool]string{true: "poll, !final", false: "!poll, !final"}[s.Polling])
	t.row("local tx intv", us(s.TxInterval))
	t.row("remote tx intv", us(s.RemoteTx))
	t.row("local detection time", us(s.DetectTime))
	last := "[never]"
	if !s.LastSeen.IsZero() {
		last = moment(s.LastSeen)
	}
	t.row("last_seen", last)
	t.row("packets sent", s.Sent)
	t.row("packets received", s.Received)
}
