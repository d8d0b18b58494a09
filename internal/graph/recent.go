package graph

// recent is a map that stays bounded by forgetting what was not used lately:
// two generations, the older dropped when the younger is full. Between limit
// and 2*limit entries are held. Its fields are exported for snapshots only.
type recent[K comparable, V any] struct {
	Limit      int
	Young, Old map[K]V
	Forgotten  int64
}

func newRecent[K comparable, V any](limit int) recent[K, V] {
	return recent[K, V]{Limit: limit, Young: map[K]V{}, Old: map[K]V{}}
}

// get returns the value of k and keeps it from being forgotten.
func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.Young[k]; ok {
		return v, true
	}
	v, ok := r.Old[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

// put sets the value of k.
func (r *recent[K, V]) put(k K, v V) {
	if len(r.Young) >= r.Limit {
		if _, ok := r.Young[k]; !ok {
			r.Forgotten += int64(len(r.Old))
			r.Old, r.Young = r.Young, make(map[K]V, r.Limit/4)
		}
	}
	r.Young[k] = v
	delete(r.Old, k)
}

// restore replaces what r holds by what a snapshot held. The limit stays that of
// r. Gob leaves empty maps out.
func (r *recent[K, V]) restore(from recent[K, V]) {
	r.Young, r.Old, r.Forgotten = from.Young, from.Old, from.Forgotten
	if r.Young == nil {
		r.Young = map[K]V{}
	}
	if r.Old == nil {
		r.Old = map[K]V{}
	}
}
