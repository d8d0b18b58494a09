package auth

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxFailures an address may have in failureWindow. A person who mistypes needs
	// fewer; at this rate guessing one of 2^110 secrets is hopeless and costs the
	// server a fifth of a second of hashing a minute.
	maxFailures   = 10
	failureWindow = time.Minute
	maxAddresses  = 1 << 12
)

// failures counts failed attempts by address.
type failures struct {
	mu sync.Mutex
	m  map[netip.Addr]attempts
}

type attempts struct {
	n     int
	since time.Time
}

// network is what one caller is taken to own: an IPv4 address, or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// wait returns how long the address has to wait, 0 when it need not.
func (f *failures) wait(a netip.Addr, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.m[network(a)]
	if at.n < maxFailures {
		return 0
	}
	return max(at.since.Add(failureWindow).Sub(now), 0)
}

func (f *failures) add(a netip.Addr, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a = network(a)
	at, known := f.m[a]
	if !known && len(f.m) >= maxAddresses {
		f.shrinkLocked(now)
	}
	if now.Sub(at.since) >= failureWindow {
		at = attempts{since: now}
	}
	at.n++
	if f.m == nil {
		f.m = map[netip.Addr]attempts{}
	}
	f.m[a] = at
}

// shrinkLocked forgets what is over, and beyond half of the room any one: who has
// thousands of addresses is not held up by this anyway. Half, so that it is rare.
func (f *failures) shrinkLocked(now time.Time) {
	for a, at := range f.m {
		if now.Sub(at.since) >= failureWindow {
			delete(f.m, a)
		}
	}
	for a := range f.m {
		if len(f.m) <= maxAddresses/2 {
			break
		}
		delete(f.m, a)
	}
}
