// Package redact takes secrets out of raw records before they reach the log: the
// values of Secrets, tokens, private keys, passwords. What stands in their place
// is a keyed hash, so that two uses of one secret can still be told to be one. The
// names of things, the keys of data, ids of tokens and public certificates stay:
// detection needs them and they open nothing.
//
// Secrets are found by where they stand (a Secret's data, a member or variable
// whose name says secret, behind --password) and by their shape (JWT, PEM, known
// prefixes, URIs with a password). A secret of no shape in a place of no name is
// not found, unless a pattern of the installation's own finds it.
package redact

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

// minKey is the shortest key that is taken, in bytes: with a key that can be
// guessed the hash of a weak password can be guessed too.
const minKey = 16

// Redactor finds and replaces secrets. It may be used from several goroutines.
type Redactor struct {
	key      []byte
	patterns []*regexp.Regexp // the installation's own
}

// New returns a Redactor whose hashes are keyed with key, at least 16 random bytes
// that stay the same for an installation and secret for ever. What one of patterns
// (RE2) matches in a string of a record is taken out too; with patterns every record
// is looked through, not only those with a word that secrets have beside them.
func New(key []byte, patterns ...string) (*Redactor, error) {
	if len(key) < minKey {
		return nil, errors.New("the key for redaction is shorter than 16 bytes")
	}
	r := &Redactor{key: slices.Clone(key)}
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("reading a pattern for redaction: %w", err)
		}
		r.patterns = append(r.patterns, re)
	}
	return r, nil
}

// Record returns raw without its secrets: raw itself when there is none, else a
// new slice. The result is JSON when raw is. raw is not changed.
func (r *Redactor) Record(raw []byte) []byte {
	h := hitsOf(raw)
	if h.none() && len(r.patterns) == 0 {
		return raw
	}
	return r.document(raw, h, false, 0)
}

// Sink returns a sink that gives next what it takes, redacted.
func (r *Redactor) Sink(next source.Sink) source.Sink { return sink{r, next} }

type sink struct {
	*Redactor
	next source.Sink
}

// Accept implements source.Sink. The batch's records are the caller's: a changed
// one stands in a list of its own.
func (s sink) Accept(ctx context.Context, b source.Batch) error {
	var changed []file.Record
	for i, rec := range b.Records {
		out := s.Record(rec.Raw)
		if len(out) == len(rec.Raw) && (len(out) == 0 || &out[0] == &rec.Raw[0]) {
			continue
		}
		if changed == nil {
			changed = slices.Clone(b.Records)
		}
		changed[i].Raw = out
	}
	if changed != nil {
		b.Records = changed
	}
	return s.next.Accept(ctx, b)
}

// mark returns what stands in a secret's place.
func (r *Redactor) mark(secret string) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(secret))
	return markBegin + hex.EncodeToString(h.Sum(nil)[:4]) + "]"
}

const markBegin = "[redacted:"
