package event

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/xxh3"
)

// ID identifies an event by its content, so that a redelivered record is
// recognised wherever it comes from. It never depends on auditID alone, which
// clients choose.
type ID [16]byte

// String returns the ID as 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the ID as 32 hex digits.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads 32 hex digits.
func (id *ID) UnmarshalText(b []byte) error {
	if _, err := hex.Decode(id[:], b[:min(len(b), 2*len(id))]); err != nil || len(b) != 2*len(id) {
		return fmt.Errorf("event id %q is not 32 hex digits", b)
	}
	return nil
}

// Hasher builds 128-bit keys from fields. Its zero value is ready; Reset
// starts a new key. Fields are length-prefixed, so ("ab","c") and ("a","bc")
// differ. It does not allocate once its buffer has grown.
type Hasher struct{ buf []byte }

// Reset starts a new key.
func (h *Hasher) Reset() { h.buf = h.buf[:0] }

// Str adds a string field.
func (h *Hasher) Str(s string) {
	h.buf = append(binary.LittleEndian.AppendUint64(h.buf, uint64(len(s))), s...)
}

// Int adds an integer field.
func (h *Hasher) Int(v int64) { h.buf = binary.LittleEndian.AppendUint64(h.buf, uint64(v)) }

// ID adds another key.
func (h *Hasher) ID(id ID) { h.buf = append(h.buf, id[:]...) }

// Sum returns the key of the fields added since Reset.
func (h *Hasher) Sum() ID { return xxh3.Hash128(h.buf).Bytes() }

// Interner maps strings to one shared copy and to a small number (symbol).
// Symbol 0 is the empty string. It is not safe for concurrent use and only grows: an
// owner that must stay bounded replaces it when it evicts (see graph).
type Interner struct {
	syms  map[string]uint32
	names []string
}

// NewInterner returns an empty Interner.
func NewInterner() *Interner {
	return &Interner{syms: map[string]uint32{"": 0}, names: []string{""}}
}

// Sym returns the symbol of s, adding a copy of s when it is new.
func (in *Interner) Sym(s string) uint32 {
	if n, ok := in.syms[s]; ok {
		return n
	}
	c := string(append([]byte(nil), s...))
	n := uint32(len(in.names))
	in.syms[c] = n
	in.names = append(in.names, c)
	return n
}

// Intern returns a copy of s that is shared and does not alias s.
func (in *Interner) Intern(s string) string { return in.names[in.Sym(s)] }

// Name returns the string of a symbol; "" when it is unknown.
func (in *Interner) Name(sym uint32) string {
	if int(sym) >= len(in.names) {
		return ""
	}
	return in.names[sym]
}

// Len returns the number of strings held, the empty one included.
func (in *Interner) Len() int { return len(in.names) }
