package graph

import "time"

// recent is a map that stays bounded by forgetting what was not used lately:
// two generations, the older dropped when the younger is full or has lasted for
// ttl. Between limit and 2*limit entries are held, each for at least ttl after
// its last use unless the limit is met before. Its fields are exported for
// snapshots only.
type recent[K comparable, V any] struct {
	Limit      int
	Young, Old map[K]V
	Forgotten  int64 // for space
	Since      int64 // event time at which the younger generation began, nanoseconds
	ttl        int64 // nanoseconds, 0 is forever
}

func newRecent[K comparable, V any](limit int, ttl time.Duration) recent[K, V] {
	return recent[K, V]{Limit: limit, ttl: int64(ttl), Young: map[K]V{}, Old: map[K]V{}}
}

// expire forgets what was not used for ttl. Call it now and then.
func (r *recent[K, V]) expire(now int64) {
	switch {
	case r.Since == 0 || len(r.Young)+len(r.Old) == 0:
		r.Since = now
	case r.ttl != 0 && now-r.Since >= r.ttl:
		r.Old, r.Young, r.Since = r.Young, map[K]V{}, now
	}
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
			r.Old, r.Young = r.Young, map[K]V{}
		}
	}
	r.Young[k] = v
	delete(r.Old, k)
}

// drop forgets k.
func (r *recent[K, V]) drop(k K) {
	delete(r.Young, k)
	delete(r.Old, k)
}

// restore replaces what r holds by what a snapshot held. The limit stays that of
// r. Gob leaves empty maps out.
func (r *recent[K, V]) restore(from recent[K, V]) {
	r.Young, r.Old, r.Forgotten, r.Since = from.Young, from.Old, from.Forgotten, from.Since
	if r.Young == nil {
		r.Young = map[K]V{}
	}
	if r.Old == nil {
		r.Old = map[K]V{}
	}
}
