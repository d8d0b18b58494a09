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

// Borrow makes r take its chunks from c. Call it before the first Next, and Return
// when no record of r is used any more.
func (r *Reader) Borrow(c *Chunks) { r.chunks = c }

// Return gives back what r borrowed: its records, and what aliases them, are void.
func (r *Reader) Return() {
	for _, b := range r.borrowed {
		r.chunks.pool.Put(b)
	}
	r.borrowed, r.buf, r.pos = nil, nil, 0
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
