package confparse

// text is a piece of a line with the places it was written at. There is at least one segment, and the first begins at 0.
type text struct {
	s    string
	segs []seg
}

// pos is where byte i was written.
func (t text) pos(i int) Pos { return placeIn(t.segs, i) }

// sub is t[i:j].
func (t text) sub(i, j int) text {
	if len(t.segs) == 1 {
		sg := t.segs[0]
		if i == 0 || sg.pos.Col < 0 {
			return text{t.s[i:j], t.segs}
		}
		sg.pos.Col += int32(i)
		return text{t.s[i:j], []seg{sg}}
	}
	first := len(t.segs) - 1
	for first > 0 && int(t.segs[first].at) > i {
		first--
	}
	last := first + 1
	for last < len(t.segs) && int(t.segs[last].at) < j {
		last++
	}
	segs := make([]seg, last-first)
	for k := range segs {
		sg := t.segs[first+k]
		sg.at -= int32(i)
		if sg.at < 0 { // only the first
			if sg.pos.Col > 0 {
				sg.pos.Col -= sg.at
			}
			sg.at = 0
		}
		segs[k] = sg
	}
	return text{t.s[i:j], segs}
}

// join puts texts one behind the other.
func join(parts ...text) text {
	n, size := 0, 0
	for _, p := range parts {
		n += len(p.segs)
		size += len(p.s)
	}
	out := make([]byte, 0, size)
	segs := make([]seg, 0, n)
	for _, p := range parts {
		if p.s == "" {
			continue
		}
		for _, sg := range p.segs {
			sg.at += int32(len(out))
			segs = append(segs, sg)
		}
		out = append(out, p.s...)
	}
	if len(segs) == 0 {
		return text{"", parts[0].segs}
	}
	return text{string(out), segs}
}

// splice puts v in the place of t[i:j].
func (t text) splice(i, j int, v text) text {
	out := text{t.s[:i] + v.s + t.s[j:], make([]seg, 0, len(t.segs)+len(v.segs)+1)}
	for _, sg := range t.segs {
		if int(sg.at) >= i {
			break
		}
		out.segs = append(out.segs, sg)
	}
	if v.s != "" {
		for _, sg := range v.segs {
			sg.at += int32(i)
			out.segs = append(out.segs, sg)
		}
	}
	if j < len(t.s) {
		k := len(t.segs) - 1
		for k > 0 && int(t.segs[k].at) > j {
			k--
		}
		for n, sg := range t.segs[k:] {
			if n == 0 { // cut at j
				if sg.pos.Col > 0 {
					sg.pos.Col += int32(j) - sg.at
				}
				sg.at = int32(j)
			}
			sg.at += int32(len(out.s) - len(t.s))
			out.segs = append(out.segs, sg)
		}
	}
	if len(out.segs) == 0 {
		out.segs = t.segs[:1]
	}
	return out
}

// trim cuts space off both ends.
func (t text) trim() text {
	i, j := 0, len(t.s)
	for i < j && isSpace(t.s[i]) {
		i++
	}
	for j > i && isSpace(t.s[j-1]) {
		j--
	}
	if i == 0 && j == len(t.s) {
		return t
	}
	return t.sub(i, j)
}
