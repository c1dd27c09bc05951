package healthcheck

import "time"

// Result is what a checker tells its owner after an attempt that changed something: the verdict, the reason or the dynamic
// weight. Owners get it by a callback that must not block.
type Result struct {
	ID string
	Up bool
	// Weight is the dynamic weight of MISC_CHECK and FILE_CHECK as a difference to the configured weight; HasWeight says
	// whether it counts.
	Weight    int
	HasWeight bool
	// Reason is one line in words: "connection refused", "HTTP status 503, wanted 200-299", "timeout after 3s".
	Reason  string
	At      time.Time
	Latency time.Duration
	// First is set for the first verdict of the checker since start or reload.
	First bool
}
