package director

import (
	"context"
	"log/slog"
	"slices"
	"syscall"
	"testing"

	"releve/ipvs"
	"releve/ipvs/memory"
)

// pieces is a plane that takes a table piece by piece.
type pieces struct {
	*memory.Plane
	size  int
	calls []int
}

func (p *pieces) Piece() int { return p.size }

func (p *pieces) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	p.calls = append(p.calls, len(ops))
	return p.Plane.Apply(ctx, ops)
}

// started is what a start with cfg writes to plane, and what the stop does.
func started(t *testing.T, plane ipvs.Plane, log func() []string, cfg *Config) (start, stop []string) {
	t.Helper()
	d, err := New(cfg, Options{Plane: plane, RepairEvery: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	if _, err := d.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	start = log()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return start, log()
}

func TestTheTableIsTheSameWhetherWrittenInPiecesOrAtOnce(t *testing.T) {
	var whole memory.Plane
	want, wantStop := started(t, &whole, whole.Log, thousand(3))
	if len(want) != 11000 || len(wantStop) != 1000 {
		t.Fatalf("%d writes at the start, %d at the stop", len(want), len(wantStop))
	}
	if wantStop[0] != "-D -t 10.3.3.231:80" || wantStop[999] != "-D -t 10.3.0.0:80" {
		t.Errorf("the stop begins with %s and ends with %s; the last service should go first", wantStop[0], wantStop[999])
	}
	for _, size := range []int{1, 7, 256, 1 << 20} {
		p := &pieces{Plane: new(memory.Plane), size: size}
		got, gotStop := started(t, p, p.Log, thousand(3))
		if !slices.Equal(got, want) || !slices.Equal(gotStop, wantStop) {
			t.Errorf("pieces of %d: other writes than at once", size)
		}
		for _, n := range p.calls[:len(p.calls)-2] {
			if n < min(size, 11000) || n > size+11 {
				t.Errorf("a piece of %d writes, want %d or a few more", n, size)
			}
		}
	}
}

func TestARefusedEntryOfAPieceDoesNotKeepTheOthersOut(t *testing.T) {
	p := &pieces{Plane: new(memory.Plane), size: 100}
	p.Refuse(func(op ipvs.Op) error {
		if op.Kind == ipvs.AddDest && op.Service.Addr.String() == "10.3.1.5" && op.Dest.Addr.String() == "10.1.0.4" {
			return syscall.EINVAL
		}
		return nil
	})
	start, _ := started(t, p, p.Log, thousand(1))
	if n := len(start); n != 11000 {
		t.Errorf("%d writes were tried, want all 11000", n)
	}
	i := slices.Index(start, "-a -t 10.3.1.5:80 -r 10.1.0.4:80 -m -w 1: "+syscall.EINVAL.Error())
	if i < 0 {
		t.Errorf("the refused write is not among them; one is %q", start[3000])
	}
}
