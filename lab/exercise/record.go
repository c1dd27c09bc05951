package exercise

import (
	"context"
	"strings"
	"sync"
	"time"

	"releve/capture"
)

// recorder captures all interfaces of a lab and keeps every frame with what it means.
type recorder struct {
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
	live   *capture.Live

	mu     sync.Mutex
	frames []recorded
	last   []capture.Event
	points []capture.Point
}

type recorded struct {
	f *capture.Frame
	n capture.Note
}

// maxFrames bounds what a run keeps.
const maxFrames = 400_000

func record(ctx context.Context, places []capture.Place, k capture.Knowledge) (*recorder, error) {
	ctx, cancel := context.WithCancel(ctx)
	live, err := capture.Listen(ctx, places, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	r := &recorder{cancel: cancel, done: make(chan struct{}), live: live, points: live.Points()}
	go func() {
		defer close(r.done)
		_, _ = capture.Run(live, capture.Options{Knowledge: k}, r)
	}()
	return r, nil
}

// Frame is capture.Sink's.
func (r *recorder) Frame(f *capture.Frame, n *capture.Note, _ []capture.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frames) < maxFrames {
		r.frames = append(r.frames, recorded{f, *n})
	}
	return nil
}

// Close is capture.Sink's.
func (r *recorder) Close(last []capture.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = last
	return nil
}

func (r *recorder) stop() []capture.Event {
	r.once.Do(func() {
		r.cancel()
		<-r.done
		r.live.Close()
	})
	return r.last
}

// find looks for a sentence, or an event, with all the words of a text since a time.
func (r *recorder) find(since time.Time, text string) (string, bool) {
	want := strings.ToLower(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.frames) - 1; i >= 0 && !r.frames[i].f.At.Before(since); i-- {
		if matches(r.frames[i].n.Text, want) {
			return r.frames[i].n.Text, true
		}
		for _, e := range r.frames[i].n.Events {
			if matches(e.Text, want) {
				return e.Text, true
			}
		}
	}
	return "", false
}

// matches looks for the parts of want, between asterisks, in their order.
func matches(text, want string) bool {
	text = strings.ToLower(text)
	for part := range strings.SplitSeq(want, "*") {
		i := strings.Index(text, strings.TrimSpace(part))
		if i < 0 {
			return false
		}
		text = text[i+len(strings.TrimSpace(part)):]
	}
	return want != ""
}
