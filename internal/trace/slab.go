package trace

// slab is a growing array of T in chunks that never move. Index 0 means none.
type slab[T any] struct {
	chunks []*[slabChunk]T
	free   []uint32
	top    uint32 // highest index ever given out
}

const slabChunk = 128

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i/slabChunk][i%slabChunk] }

// alloc returns the index of a zero T.
func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	s.top++
	if int(s.top/slabChunk) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([slabChunk]T))
	}
	return s.top
}

// release clears and returns an index.
func (s *slab[T]) release(i uint32) {
	var zero T
	*s.at(i) = zero
	s.free = append(s.free, i)
}

func (s *slab[T]) count() int { return int(s.top) - len(s.free) }

// labels interns the texts of links and forgets them with their last user, so
// that names an attacker can choose do not accumulate.
type labels struct {
	byText map[string]uint32
	slab   slab[label]
}

type label struct {
	text string
	refs int32
}

// hold returns the number of text and counts one more user.
func (l *labels) hold(text string) uint32 {
	if text == "" {
		return 0
	}
	i, ok := l.byText[text]
	if !ok {
		i = l.slab.alloc()
		text = string(append([]byte(nil), text...))
		l.slab.at(i).text = text
		l.byText[text] = i
	}
	l.slab.at(i).refs++
	return i
}

func (l *labels) holdAgain(i uint32) uint32 {
	if i != 0 {
		l.slab.at(i).refs++
	}
	return i
}

func (l *labels) drop(i uint32) {
	if i == 0 {
		return
	}
	e := l.slab.at(i)
	if e.refs--; e.refs == 0 {
		delete(l.byText, e.text)
		l.slab.release(i)
	}
}

func (l *labels) text(i uint32) string {
	if i == 0 {
		return ""
	}
	return l.slab.at(i).text
}
