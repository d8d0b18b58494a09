package k8saudit

import (
	"github.com/zeebo/xxh3"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// A log says the same again and again: who asks, from where and with which
// client, and which binding allows it. That is a third of a record at level
// Metadata, and comparing it with what was read before takes a tenth of the time
// of reading it. Nothing but time depends on what is remembered.

// memoSlots bounds what is remembered: more identities than are busy in most
// clusters, and with their texts less than 1 MiB.
const memoSlots = 512

// memo remembers what pieces of JSON say. The zero memo is ready.
type memo[T any] struct {
	slots []remembered[T] // each piece in one of two that are neighbours
	arena jsonscan.Arena  // of what is remembered, which pins no record
}

type remembered[T any] struct {
	raw  string // the piece; it ends as only a whole value can end
	says T
}

// find returns what the beginning of rest says and how long it is, if it was
// added under the same key; nil otherwise.
func (m *memo[T]) find(key uint64, rest []byte) (*T, int) {
	if m.slots == nil {
		return nil, 0
	}
	at := key % memoSlots
	for _, i := range [2]uint64{at, at ^ 1} {
		r := &m.slots[i]
		if n := len(r.raw); n > 0 && n <= len(rest) && string(rest[:n]) == r.raw {
			return &r.says, n
		}
	}
	return nil, 0
}

// add remembers a piece in the place of the older one of its two slots. It
// returns what the older one says, to be overwritten with what the new one does,
// which must not alias the record.
func (m *memo[T]) add(key uint64, raw []byte) *T {
	if m.slots == nil {
		m.slots = make([]remembered[T], memoSlots)
	}
	at := key % memoSlots
	m.slots[at], m.slots[at^1] = m.slots[at^1], m.slots[at]
	m.slots[at].raw = m.arena.Copy(raw)
	return &m.slots[at].says
}

// identity is what the members user, impersonatedUser, sourceIPs and userAgent say.
type identity struct {
	actor                event.Actor
	accessKey, principal string
}

// identity reads the member user and those about the actor that follow it, and
// reports whether another key was read after them.
func (d *Decoder) identity(a *event.Actor) bool {
	s := &d.scan
	fresh := !d.top.actorRead // what was read before is no part of the piece
	d.top.actorRead = true
	rest := s.Rest()
	mark := tellingPart(rest)
	key := xxh3.Hash(mark)
	if fresh {
		if says, n := d.identities.find(key, rest); says != nil {
			d.recall(says, a)
			return s.Pass(n) && s.NextKey()
		}
	}
	start, end, more := s.Offset(), 0, true
	for more && d.actorMember(a) {
		end = s.Offset()
		more = s.NextKey()
	}
	if raw := s.Between(start, end); fresh && len(raw) > len(mark) && raw[len(raw)-1] == '"' {
		d.keep(a, d.identities.add(key, raw))
	}
	return more
}

// actorMember reads the value of the current key if that is about the actor.
func (d *Decoder) actorMember(a *event.Actor) bool {
	switch string(d.scan.Key()) {
	case "user":
		d.user(a)
	case "impersonatedUser":
		d.impersonated(a)
	case "sourceIPs":
		a.ForgedIPs = d.scan.Strs(a.ForgedIPs[:0])
	case "userAgent":
		d.scan.Str(&a.Agent)
	default:
		return false
	}
	d.top.actorRead = true
	return true
}

// tellingPart returns as much of a user as tells it from most others: the name, and of
// service accounts, whose pods share it, the token.
func tellingPart(rest []byte) []byte {
	const short, long, bound = 96, 320, `{"username":"system:serviceaccount:`
	n := short
	if len(rest) > len(bound) && string(rest[:len(bound)]) == bound {
		n = long
	}
	return rest[:min(n, len(rest))]
}

// recall sets the empty actor a to what is remembered.
func (d *Decoder) recall(says *identity, a *event.Actor) {
	groups, impersonated, forged := a.Groups[:0], a.ImpersonatedGroups[:0], a.ForgedIPs[:0]
	*a = says.actor
	a.Groups = append(groups, a.Groups...)
	a.ImpersonatedGroups = append(impersonated, a.ImpersonatedGroups...)
	a.ForgedIPs = append(forged, a.ForgedIPs...)
	d.top.accessKey, d.top.principal = says.accessKey, says.principal
}

// keep sets k to a copy of what was read into a, which shares no memory with it
// or with the record.
func (d *Decoder) keep(a *event.Actor, k *identity) {
	arena, c := &d.identities.arena, &k.actor
	groups, impersonated, forged := c.Groups[:0], c.ImpersonatedGroups[:0], c.ForgedIPs[:0]
	*k = identity{*a, d.top.accessKey, d.top.principal}
	c.Groups = own(arena, groups, a.Groups)
	c.ImpersonatedGroups = own(arena, impersonated, a.ImpersonatedGroups)
	c.ForgedIPs = own(arena, forged, a.ForgedIPs)
	for _, s := range [...]*string{
		&c.Name, &c.UID, &c.Credential, &c.PodUID, &c.PodName, &c.NodeName, &c.NodeUID, &c.ARN, &c.Role, &c.Session,
		&c.Impersonated, &c.ImpersonatedUID, &c.Agent, &k.accessKey, &k.principal,
	} {
		*s = arena.CopyString(*s)
	}
}

// own appends copies of list to dst.
func own(arena *jsonscan.Arena, dst, list []string) []string {
	for _, s := range list {
		dst = append(dst, arena.CopyString(s))
	}
	return dst
}

// Bounds of the reasons that are remembered, in bytes of JSON.
const (
	minReason = 32
	maxReason = 512
)

// reason reads why a request was allowed. It mostly is the last value of the
// record, behind which two objects end, so that its end is known.
func (d *Decoder) reason(dst *string) {
	s := &d.scan
	rest := s.Rest()
	n := len(rest) - len(`}}`)
	if n < minReason || n > maxReason {
		s.Str(dst)
		return
	}
	key := xxh3.Hash(rest[:n])
	if says, n := d.reasons.find(key, rest); says != nil {
		*dst = *says
		s.Pass(n)
		return
	}
	start := s.Offset()
	s.Str(dst)
	if raw := s.Since(start); len(raw) == n && raw[n-1] == '"' {
		*d.reasons.add(key, raw) = d.reasons.arena.CopyString(*dst)
	}
}
