package capture

import (
	"bufio"
	"encoding/binary"
	"io"
)

// Writer writes pcapng with a comment on each packet (option opt_comment of the enhanced packet block), which Wireshark shows
// and tshark calls frame.comment.
type Writer struct {
	w      *bufio.Writer
	points int
	err    error
}

// NewWriter begins a file; every point known now or later is an interface of it.
func NewWriter(out io.Writer) *Writer {
	w := &Writer{w: bufio.NewWriterSize(out, 1<<16)}
	body := binary.LittleEndian.AppendUint32(nil, 0x1a2b3c4d)
	body = append(body, 1, 0, 0, 0)
	body = binary.LittleEndian.AppendUint64(body, ^uint64(0)) // the length of the section is not told
	body = option(body, 4, "releve capture")
	w.block(0x0a0d0d0a, endOptions(body))
	return w
}

// Points makes interfaces of the points that have none yet.
func (w *Writer) Points(all []Point) {
	for ; w.points < len(all); w.points++ {
		body := []byte{linkEthernet, 0, 0, 0, 0, 0, 0, 0}
		body = option(body, 2, all[w.points].Name)
		body = option(body, 9, "\x09") // nanoseconds
		w.block(1, endOptions(body))
	}
}

// Write adds a packet. An empty comment is none.
func (w *Writer) Write(p Packet, comment string) error {
	if w.points == 0 {
		w.Points([]Point{{"wire"}})
	}
	at := uint64(p.At.UnixNano())
	body := binary.LittleEndian.AppendUint32(make([]byte, 0, len(p.Data)+len(comment)+64), uint32(min(p.Point, w.points-1)))
	body = binary.LittleEndian.AppendUint32(body, uint32(at>>32))
	body = binary.LittleEndian.AppendUint32(body, uint32(at))
	body = binary.LittleEndian.AppendUint32(body, uint32(len(p.Data)))
	body = binary.LittleEndian.AppendUint32(body, uint32(max(p.Len, len(p.Data))))
	body = pad(append(body, p.Data...))
	if comment != "" {
		body = endOptions(option(body, 1, comment))
	}
	w.block(6, body)
	return w.err
}

// Flush writes what is held back.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); w.err == nil {
		w.err = err
	}
	return w.err
}

func (w *Writer) block(kind uint32, body []byte) {
	var h [8]byte
	n := uint32(len(body) + 12)
	binary.LittleEndian.PutUint32(h[:], kind)
	binary.LittleEndian.PutUint32(h[4:], n)
	for _, b := range [][]byte{h[:], body, h[4:]} {
		if _, err := w.w.Write(b); err != nil && w.err == nil {
			w.err = err
		}
	}
}

func option(b []byte, code uint16, text string) []byte {
	text = text[:min(len(text), 60000)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return pad(append(b, text...))
}

func endOptions(b []byte) []byte { return append(b, 0, 0, 0, 0) }

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
