// Command capture makes a large capture out of a small one, for make bench: capture IN OUT MEGABYTES.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"releve/capture"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/capture:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 4 {
		return errors.New("usage: capture IN OUT MEGABYTES")
	}
	var size int
	if _, err := fmt.Sscan(os.Args[3], &size); err != nil {
		return err
	}
	in, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := capture.NewReader(in)
	if err != nil {
		return err
	}
	var all []capture.Packet
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	out, err := os.Create(os.Args[2])
	if err != nil {
		return err
	}
	defer out.Close()
	w := capture.NewWriter(out)
	w.Points(r.Points())
	frames := 0
	for n := 0; n < size<<20; frames++ {
		p := all[frames%len(all)]
		p.At = all[0].At.Add(time.Duration(frames) * 500 * time.Microsecond)
		n += len(p.Data) + 32
		if err := w.Write(p, ""); err != nil {
			return err
		}
	}
	fmt.Println(frames, "frames")
	return w.Flush()
}
