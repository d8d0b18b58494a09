package server

import (
	"net"
	"net/netip"
	"sync"
)

// limiter is a listener that closes connections beyond a number, in all and from
// one address. It does not make them wait: then a few callers could keep all others
// out without ever being seen.
type limiter struct {
	net.Listener
	max, perAddress int
	metrics         *metrics

	mu   sync.Mutex
	open int
	from map[netip.Addr]int
}

func newLimiter(l net.Listener, limits Limits, m *metrics) *limiter {
	return &limiter{Listener: l, max: limits.Connections, perAddress: limits.ConnectionsPerAddress, metrics: m, from: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := address(c)
		if reason := l.take(addr); reason != "" {
			l.metrics.turnedAway.WithLabelValues(reason).Inc()
			_ = c.Close() // nothing was said on it
			continue
		}
		return &conn{Conn: c, release: sync.OnceFunc(func() { l.give(addr) })}, nil
	}
}

func address(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// take counts a connection, or says why not.
func (l *limiter) take(addr netip.Addr) (refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.max:
		return "total"
	case l.from[addr] >= l.perAddress:
		return "address"
	}
	l.open++
	l.from[addr]++
	l.metrics.connections.Set(float64(l.open))
	return ""
}

func (l *limiter) give(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[addr]--; l.from[addr] == 0 {
		delete(l.from, addr)
	}
	l.metrics.connections.Set(float64(l.open))
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}
