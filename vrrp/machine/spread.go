package machine

import "time"

// Masters that became so together beat together, and a burst of a thousand adverts takes milliseconds, never the same number of them.
// Therefore each puts its beat off once, after its second advert, by its share of a window; from then on they go out in small groups, each
// of which is quick. No RFC says when in its interval a master beats, only how far apart its adverts are, and an advert that is once 2 %
// late is far within what backups wait.
const (
	// spreadSlot is how far groups are apart. Each wakes a process here and one in every backup.
	spreadSlot = 2 * time.Millisecond
	// spreadPart of the interval and spreadEach for each instance bound the window.
	spreadPart = 50
	spreadEach = 20 * time.Microsecond
)

// Share is by how much instance i of n, counted from zero, puts off its beat; zero where there are too few for two groups.
func Share(i, n int, interval time.Duration) time.Duration {
	slots := min(interval/spreadPart, time.Duration(n)*spreadEach) / spreadSlot
	if slots < 2 {
		return 0
	}
	return time.Duration(i) * slots / time.Duration(n) * spreadSlot
}

// share is what the machine makes of its share: where a single advert that is late makes the master dead (down_timer_adverts 1) it keeps
// to its beat.
func (m *Machine) share(ev Event) time.Duration {
	if m.cfg.DownAdverts == 1 {
		return 0
	}
	return ev.Share
}
