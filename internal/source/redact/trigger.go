package redact

import (
	"bytes"
	"encoding/binary"
)

// class says which looks for secrets a piece of text is worth.
type class uint16

const (
	named   class = 1 << iota // a word of secretWords
	jwtLike                   // and so on: the words of shapeWords
	pemLike
	prefixLike
	bearerLike
	basicLike
	headerLike
	commandLike
	base64Like
	uriLike
)

// shapeWords stand in every secret that is known by its shape.
var shapeWords = map[class][]string{
	named:       {"pwd=", "access_key", "accesskey=", "access-key"},
	jwtLike:     {".eyj"}, // a payload, which is an object
	pemLike:     {"private key"},
	prefixLike:  {"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "aiza", "glpat-", "sk_live_", "rk_live_", "npm_", "hvs.", "dckr_pat_"},
	bearerLike:  {"bearer"},
	basicLike:   {"basic ", "basic+", "basic%20"},
	headerLike:  {"authorization\"", "authorization\\", "authorization:", "authorization=", "authorization%3a"},
	commandLike: {"curl", "mysql", "mariadb", "sshpass"},
	base64Like:  {"ufjjvkfursblrv", "bssvzbveugs0vz", "quklwqvrfietfw", "y2xpzw50lwtles1kyxrh", "jbgllbnqta2v5lwrhdge", "nsawvudc1rzxktzgf0y"}, // keyWords
	uriLike:     {"%3a%2f%2f"},
}

// needle is what a record that holds a secret of a class contains, in any case of
// letters and at least four bytes long. Most records contain none, and are passed
// on at the price of one look.
type needle struct {
	text  []byte // lower case
	class class
}

const slotBits = 11

// firsts is a table of the needles' first four bytes, folded, each at its slot;
// slots do not collide, as a test says. It is small, to stay in the cache.
// needlesOf are the needles that begin so.
var firsts, needlesOf = func() (t [1 << slotBits]uint32, of map[uint32][]needle) {
	of = map[uint32][]needle{}
	add := func(text string, c class) {
		first := fold(binary.LittleEndian.Uint32([]byte(text)))
		t[slot(first)] = first
		of[first] = append(of[first], needle{[]byte(text), c})
	}
	for _, w := range secretWords {
		add(w, named)
	}
	for c, words := range shapeWords {
		for _, w := range words {
			add(w, c)
		}
	}
	return t, of
}()

// fold makes letters lower case, and some other bytes others: needles are folded
// alike before the exact comparison.
func fold(w uint32) uint32 { return w | 0x20202020 }

func slot(w uint32) uint32 { return w * slotFactor >> (32 - slotBits) }

// slotFactor spreads the needles over the slots.
const slotFactor = 0x9E3779B1

// triggered reports whether b may hold a secret.
func triggered(b []byte) bool {
	at, _ := next(b, 0)
	return at >= 0 || hasUserinfo(b)
}

// next returns where the first needle in b at or behind i begins and its class; -1
// when there is none. It looks at five places for each eight bytes that it loads.
func next(b []byte, i int) (int, class) {
	for ; i+8 <= len(b); i += 5 {
		w := binary.LittleEndian.Uint64(b[i:]) | 0x2020202020202020
		for k := range 5 {
			first := uint32(w >> (8 * k))
			if firsts[slot(first)] == first {
				if c := needleAt(b[i+k:], first); c != 0 {
					return i + k, c
				}
			}
		}
	}
	for ; i+4 <= len(b); i++ {
		first := fold(binary.LittleEndian.Uint32(b[i:]))
		if firsts[slot(first)] == first {
			if c := needleAt(b[i:], first); c != 0 {
				return i, c
			}
		}
	}
	return -1, 0
}

// needleAt returns the class of the needle at the beginning of b, 0 for none.
func needleAt(b []byte, first uint32) class {
	for _, n := range needlesOf[first] {
		if len(b) >= len(n.text) && bytes.EqualFold(b[:len(n.text)], n.text) {
			return n.class
		}
	}
	return 0
}

// classes returns the classes of all needles in b.
func classes(b []byte) (all class) {
	for i, c := next(b, 0); i >= 0; i, c = next(b, i+1) {
		all |= c
	}
	if hasUserinfo(b) {
		all |= uriLike
	}
	return all
}

// maxUserinfo is how long user and password of a URI may be together, in bytes.
const maxUserinfo = 512

// hasUserinfo reports whether b holds something like scheme://user:password@.
func hasUserinfo(b []byte) bool {
	for at := 0; ; at++ {
		n := bytes.IndexByte(b[at:], '@')
		if n < 0 {
			return false
		}
		at += n
		before := b[max(0, at-maxUserinfo):at]
		if i := bytes.LastIndex(before, []byte("//")); i >= 0 && bytes.IndexByte(before[i:], ':') >= 0 {
			return true
		}
	}
}
