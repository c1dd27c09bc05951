package capture_test

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"releve/capture"
)

// FuzzReader reads hostile files to their end: errors, but no panic, no endless loop, no boundless memory.
func FuzzReader(f *testing.F) {
	for _, path := range testdata(f) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 4000)])
	}
	f.Add([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := capture.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		_, _ = capture.Run(r, capture.Options{Count: 10000}, &capture.Timeline{W: io.Discard}, capture.JSONLines{W: io.Discard}, capture.File{W: capture.NewWriter(io.Discard)}, &capture.Page{W: io.Discard})
	})
}

// FuzzDecode gives the decoders and the annotator hostile frames, each twice.
func FuzzDecode(f *testing.F) {
	for _, path := range testdata(f) {
		frames, _ := read(f, path)
		for i, x := range frames {
			if i%7 == 0 {
				f.Add(x.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d capture.Decoder
		a := capture.NewAnnotator(capture.Knowledge{Checks: checks})
		for i := range 3 {
			at := time.Unix(int64(i)*4, 0)
			n := a.Add(d.Decode(capture.Packet{At: at, Data: b[:max(0, len(b)-i)], Len: len(b)}))
			if n.Text == "" {
				t.Fatalf("a frame without a sentence: %x", b)
			}
		}
		a.Advance(time.Unix(100, 0))
	})
}

// BenchmarkAnnotate takes frames apart and says what they mean; make bench reads a file of 100 MB.
func BenchmarkAnnotate(b *testing.B) {
	frames, _ := read(b, "testdata/checks.pcapng")
	more, _ := read(b, "testdata/failover.pcapng")
	frames = append(frames, more...)
	b.ReportAllocs()
	var d capture.Decoder
	a := capture.NewAnnotator(capture.Knowledge{Checks: checks, Hosts: hosts})
	at := frames[0].At
	for i := 0; b.Loop(); i++ {
		p := frames[i%len(frames)].Packet
		p.At = at.Add(time.Duration(i) * time.Millisecond)
		a.Add(d.Decode(p))
	}
}
