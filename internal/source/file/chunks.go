package file

import "sync"

// Chunks are buffers that readers use one after the other. The zero value is ready
// for use, from several goroutines.
type Chunks struct{ pool sync.Pool }

// take returns a chunk of chunkSize bytes that holds anything.
func (c *Chunks) take() *[chunkSize]byte {
	if b, ok := c.pool.Get().(*[chunkSize]byte); ok {
		return b
	}
	return new([chunkSize]byte)
}

// Borrow makes r take its chunks from c. Call it before the first Next.
func (r *Reader) Borrow(c *Chunks) { r.chunks = c }

// GiveBack gives back the chunks that r borrowed and has read to their end: the
// records so far, and what aliases them, are void. Next may be called again.
func (r *Reader) GiveBack() {
	kept := r.borrowed[:0]
	for _, b := range r.borrowed {
		if len(r.buf) > 0 && &r.buf[0] == &b[0] {
			kept = append(kept, b)
		} else {
			r.chunks.pool.Put(b)
		}
	}
	clear(r.borrowed[len(kept):])
	r.borrowed = kept
}

// Return is GiveBack of all chunks. Next may not be called again.
func (r *Reader) Return() {
	r.buf, r.pos = nil, 0
	r.GiveBack()
}

// newChunk returns a chunk of n bytes at least, with capacity for more.
func (r *Reader) newChunk(n int) []byte {
	if r.chunks == nil || 2*n > chunkSize {
		return make([]byte, n, max(chunkSize, 2*n))
	}
	b := r.chunks.take()
	r.borrowed = append(r.borrowed, b)
	return b[:n]
}
