package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/vrrp"
)

// syncControl runs the connection sync daemon of the kernel's IPVS as VRRP wants it. IPVS is opened when it is first needed.
type syncControl struct {
	log   *slog.Logger
	plane *kernel.Plane
	none  bool            // this kernel has no IPVS: nothing to synchronise
	role  ipvs.SyncRole   // that runs now
	want  ipvs.SyncDaemon // as Set last had it; without a role there should be none
	// A start that failed is tried again, after pauses that grow to a minute.
	pause  time.Duration
	again  time.Time
	failed string
}

// open reports whether there is an IPVS to drive. That there is none is said once, and looked at again when its module is there.
func (s *syncControl) open() (bool, error) {
	if s.plane != nil {
		return true, nil
	}
	if s.none {
		if _, err := os.Stat("/sys/module/ip_vs"); err != nil {
			return false, nil
		}
	}
	plane, err := kernel.Open("")
	if errors.Is(err, kernel.ErrNoIPVS) {
		if !s.none {
			s.log.Warn(fmt.Sprintf("lvs_sync_daemon has no effect: %v", err))
		}
		s.none = true
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.plane, s.none = plane, false
	return true, nil
}

// Set makes the daemon of the given role run and the other one not.
func (s *syncControl) Set(ctx context.Context, master bool, cfg *vrrp.SyncDaemonConfig, id uint8) error {
	s.want = ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: cfg.Iface, ID: id, MaxLen: cfg.MaxLen, Port: cfg.Port, TTL: cfg.TTL, Group: cfg.Group}
	if master {
		s.want.Role = ipvs.SyncMaster
	}
	if s.role == s.want.Role {
		return nil
	}
	s.pause, s.failed = 0, ""
	return s.tried(s.start(ctx))
}

func (s *syncControl) start(ctx context.Context) error {
	if ok, err := s.open(); !ok {
		return err
	}
	running, err := s.plane.SyncState(ctx)
	if err != nil {
		return fmt.Errorf("state of the sync daemon: %w", err)
	}
	var errs []error
	for _, d := range running { // the other one, or of a predecessor, maybe with other parameters
		errs = append(errs, s.plane.StopSync(ctx, d.Role))
	}
	if err := s.plane.StartSync(ctx, s.want); err != nil {
		s.role = ipvs.SyncNone
		return errors.Join(append(errs, fmt.Errorf("start the sync daemon on %s: %w", s.want.Iface, err))...)
	}
	s.role = s.want.Role
	return errors.Join(errs...)
}

// tried sets when to try again what failed, and lets the same error through once only.
func (s *syncControl) tried(err error) error {
	if err == nil || s.role == s.want.Role {
		s.pause, s.failed = 0, ""
		return err
	}
	s.pause = min(max(2*s.pause, keepEvery), time.Minute)
	s.again = time.Now().Add(s.pause)
	if text := err.Error(); text != s.failed {
		s.failed = text
		return err
	}
	return nil
}

// Keep starts the daemon again that was stopped from outside, by an unloaded module for instance, or could not be started before.
func (s *syncControl) Keep(ctx context.Context) error {
	if s.want.Role == ipvs.SyncNone || s.pause > 0 && time.Now().Before(s.again) {
		return nil
	}
	if ok, err := s.open(); !ok {
		return s.tried(err)
	}
	running, err := s.plane.SyncState(ctx)
	if err != nil {
		s.role = ipvs.SyncNone
		return s.tried(fmt.Errorf("state of the sync daemon: %w", err))
	}
	if len(running) == 1 && running[0].Role == s.want.Role && running[0].Iface == s.want.Iface && running[0].ID == s.want.ID {
		s.role, s.pause, s.failed = s.want.Role, 0, ""
		return nil
	}
	if s.role == s.want.Role {
		s.log.Warn("IPVS: the " + s.want.Role.String() + " sync daemon had been stopped from outside - starting it")
	}
	s.role = ipvs.SyncNone
	if err := s.start(ctx); err != nil {
		return s.tried(err)
	}
	s.pause, s.failed = 0, ""
	s.log.Info("IPVS: the " + s.want.Role.String() + " sync daemon runs again")
	return nil
}

// Stop ends both.
func (s *syncControl) Stop(ctx context.Context) error {
	s.role, s.want, s.pause = ipvs.SyncNone, ipvs.SyncDaemon{}, 0
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
