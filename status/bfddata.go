package status

import (
	"bufio"
	"fmt"
	"time"

	"releve/bfd"
	"releve/confparse"
)

// BFDData writes keepalived_bfd.data: the global definitions and the sessions.
func BFDData(w *bufio.Writer, g *confparse.Global, sessions []bfd.Status) {
	Global(w, g)
	t := &text{w: w}
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
	t.row("multihop", c.Multihop)
	t.row("passive", c.Passive)
	t.row("send event to VRRP process", yes(c.TellVRRP))
	t.row("send event to checker process", yes(c.TellChecker))
	t.row("send error", s.SendError != "")
	t.row("local state", s.State)
	t.row("remote state", s.RemoteState)
	t.row("local discriminator", fmt.Sprintf("0x%08x", s.Discr))
	t.row("remote discriminator", fmt.Sprintf("0x%08x", s.RemoteDiscr))
	t.row("local diag", s.Diag)
	t.row("remote diag", s.RemoteDiag)
	t.row("remote min tx intv", us(s.RemoteTx))
	t.row("remote min rx intv", us(s.RemoteRx))
	t.row("remote detect multiplier", s.RemoteMult)
	t.row("local tx intv", us(s.TxInterval))
	t.row("local detection time", us(s.DetectTime))
	if s.LastSeen.IsZero() {
		t.row("last seen", "[never]")
	} else {
		t.row("last seen", fmt.Sprintf("%d.%06d (%s)", s.LastSeen.Unix(), s.LastSeen.Nanosecond()/1000, s.LastSeen.Format("Mon Jan _2 15:04:05 2006")))
	}
	t.row("packets sent", s.Sent)
	t.row("packets received", s.Received)
}
