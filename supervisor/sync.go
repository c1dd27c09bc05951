package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/vrrp"
)

// syncControl runs the connection sync daemon of the kernel's IPVS as VRRP wants it. IPVS is opened when it is first needed.
type syncControl struct {
	log   *slog.Logger
	plane *kernel.Plane
	none  bool          // this kernel has no IPVS: nothing to synchronise
	role  ipvs.SyncRole // that runs now
}

// open reports whether there is an IPVS to drive. That there is none is said once.
func (s *syncControl) open() (bool, error) {
	if s.plane != nil || s.none {
		return !s.none, nil
	}
	plane, err := kernel.Open("")
	if errors.Is(err, kernel.ErrNoIPVS) {
		s.none = true
		s.log.Warn(fmt.Sprintf("lvs_sync_daemon has no effect: %v", err))
		return false, nil
	}
	s.plane = plane
	return err == nil, err
}

// Set makes the daemon of the given role run and the other one not.
func (s *syncControl) Set(ctx context.Context, master bool, cfg *vrrp.SyncDaemonConfig, id uint8) error {
	want, other := ipvs.SyncBackup, ipvs.SyncMaster
	if master {
		want, other = other, want
	}
	if s.role == want {
		return nil
	}
	if ok, err := s.open(); !ok {
		return err
	}
	running, err := s.plane.SyncState(ctx)
	if err != nil {
		return fmt.Errorf("state of the sync daemon: %w", err)
	}
	var errs []error
	for _, d := range running {
		if d.Role == other || d.Role == want { // of a predecessor, maybe with other parameters
			errs = append(errs, s.plane.StopSync(ctx, d.Role))
		}
	}
	d := ipvs.SyncDaemon{Role: want, Iface: cfg.Iface, ID: id, MaxLen: cfg.MaxLen, Port: cfg.Port, TTL: cfg.TTL, Group: cfg.Group}
	if err := s.plane.StartSync(ctx, d); err != nil {
		s.role = ipvs.SyncNone
		return errors.Join(append(errs, fmt.Errorf("start the sync daemon on %s: %w", cfg.Iface, err))...)
	}
	s.role = want
	return errors.Join(errs...)
}

// Stop ends both.
func (s *syncControl) Stop(ctx context.Context) error {
	s.role = ipvs.SyncNone
	if ok, err := s.open(); !ok {
		return err
	}
	running, err := s.plane.SyncState(ctx)
	if err != nil {
		return fmt.Errorf("state of the sync daemon: %w", err)
	}
	var errs []error
	for _, d := range running {
		errs = append(errs, s.plane.StopSync(ctx, d.Role))
	}
	return errors.Join(errs...)
}
