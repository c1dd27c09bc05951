package track

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// `echo 7 >file` empties the file first: for that moment it would be 0, and a router in FAULT would be none.
func TestAFileThatIsBeingWrittenIsReadWhenItIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	write := func(f *os.File, text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *os.File {
		t.Helper()
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	write(f, "5\n")
	f.Close()
	seen := make(chan int, 16)
	go File{Path: path}.Run(t.Context(), func(n int, err error) { seen <- n })
	next := func(want int) {
		t.Helper()
		select {
		case n := <-seen:
			if n != want {
				t.Fatalf("%d, want %d", n, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing, want %d", want)
		}
	}
	next(5)
	for _, want := range []string{"7", "-30", "0", "254"} {
		f := open()
		for _, c := range want {
			time.Sleep(20 * time.Millisecond) // long enough to be looked at
			write(f, string(c))
		}
		time.Sleep(20 * time.Millisecond)
		f.Close()
		next(map[string]int{"7": 7, "-30": -30, "0": 0, "254": 254}[want])
	}
	os.Remove(path)
	next(0)
	if err := os.WriteFile(path+".new", []byte("9"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Rename(path+".new", path)
	next(9)
	os.Remove(path)
	next(0)
	if err := os.WriteFile(path+".elsewhere", []byte("11"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".elsewhere", path); err != nil {
		t.Fatal(err)
	}
	next(11)
}
