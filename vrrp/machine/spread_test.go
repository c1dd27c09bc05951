package machine

import (
	"slices"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	for _, c := range []struct {
		name     string
		i, n     int
		interval time.Duration
		want     time.Duration
	}{
		{"one instance keeps its beat", 0, 1, time.Second, 0},
		{"the last of few, too", 198, 199, time.Second, 0},
		{"two hundred are two groups", 99, 200, time.Second, 0},
		{"the second half of two hundred comes two milliseconds later", 100, 200, time.Second, 2 * ms},
		{"a thousand are ten groups of a hundred", 99, 1000, time.Second, 0},
		{"the next group of a thousand", 100, 1000, time.Second, 2 * ms},
		{"the last one of a thousand", 999, 1000, time.Second, 18 * ms},
		{"more than a thousand share the same fiftieth of the interval", 9999, 10000, time.Second, 18 * ms},
		{"a longer interval has room for more groups", 9999, 10000, 10 * time.Second, 198 * ms},
		{"a shorter one for less", 999, 1000, 200 * ms, 2 * ms},
		{"at 100 ms nobody moves", 999, 1000, 100 * ms, 0},
	} {
		if got := Share(c.i, c.n, c.interval); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, n := range []int{1, 7, 100, 1000, 1001, 20000} {
		for _, interval := range []time.Duration{10 * ms, 100 * ms, time.Second, 40 * time.Second} {
			last := time.Duration(0)
			for i := range n {
				s := Share(i, n, interval)
				if s < last || s-last > spreadSlot && n < 20000 || s*50 >= interval {
					t.Fatalf("instance %d of %d at %s: %s after %s", i, n, interval, s, last)
				}
				last = s
			}
		}
	}
}

// TestABeatIsPutOffOnce: due is what the owner says of the main timer each time that it goes off.
func TestABeatIsPutOffOnce(t *testing.T) {
	due := func(late time.Duration) Event { return Event{Kind: Due, Late: late, Share: 7 * ms} }
	better, worse := heard(150, "10.0.0.1"), heard(50, "10.0.0.1")
	for _, c := range []struct {
		name string
		cfg  Config
		in   []Event
		want []time.Duration // what the main timer is armed with
	}{
		{"after the second advert", v2(100), []Event{start, due(0), due(0), due(0), due(0)},
			[]time.Duration{3609375 * time.Microsecond, time.Second, 1007 * ms, time.Second, time.Second}},
		{"the same lateness is made up for as ever", v2(100), []Event{start, due(0), due(2 * ms), due(3 * ms)},
			[]time.Duration{3609375 * time.Microsecond, time.Second, 1007*ms - makeUp, time.Second - makeUp}},
		{"a master again, again", v2(100), []Event{start, due(0), due(0), better, due(0), due(0), due(0)},
			[]time.Duration{3609375 * time.Microsecond, time.Second, 1007 * ms, 3609375 * time.Microsecond, time.Second, 1007 * ms, time.Second}},
		{"an answer to a worse router is no beat", v2(100), []Event{start, due(0), worse, due(0), worse, due(0)},
			[]time.Duration{3609375 * time.Microsecond, time.Second, time.Second, 1007 * ms, time.Second, time.Second}},
		{"a resumed master, too", v2(100), []Event{{Kind: Resume}, due(0), due(0)}, []time.Duration{time.Second, 1007 * ms, time.Second}},
		{"never where one late advert makes a master dead", v2(100, func(c *Config) { c.DownAdverts = 1 }), []Event{start, due(0), due(0), due(0)},
			[]time.Duration{1609375 * time.Microsecond, time.Second, time.Second, time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := New(0, c.cfg)
			var got []time.Duration
			for _, ev := range c.in {
				for _, a := range m.Step(ev, nil) {
					if a.Kind == Arm && a.Timer == Main {
						got = append(got, a.After)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("armed %v, want %v", got, c.want)
			}
		})
	}
}
