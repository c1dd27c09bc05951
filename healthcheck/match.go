package healthcheck

// Match says which checkers go on through a reload: for each of next the index of the one in old that goes on as it, or -1 for one that
// is new. A checker whose number among its server's checkers changed is the same checker still.
func Match(old, next []*Config) []int {
	byID := make(map[string]int, len(old))
	for i, c := range old {
		byID[c.ID] = i
	}
	from, kept := make([]int, len(next)), make([]bool, len(old))
	fresh := 0
	for k, c := range next {
		i, there := byID[c.ID]
		if !there || kept[i] || !Same(old[i], c) {
			from[k] = -1
			fresh++
			continue
		}
		from[k], kept[i] = i, true
	}
	if fresh == 0 {
		return from
	}
	moved := map[string][]int{}
	for i, c := range old {
		if !kept[i] {
			moved[server(c.ID)] = append(moved[server(c.ID)], i)
		}
	}
	if len(moved) == 0 {
		return from
	}
	for k, c := range next {
		if from[k] >= 0 {
			continue
		}
		list := moved[server(c.ID)]
		for n, i := range list {
			if Same(old[i], c) {
				moved[server(c.ID)] = append(list[:n:n], list[n+1:]...)
				from[k] = i
				break
			}
		}
	}
	return from
}
