package inventory

import (
	"encoding/binary"
	"net/netip"

	"github.com/clew-sec/clew/internal/event"
)

// Network is the /24 of an IPv4 address or the /64 of an IPv6 address: the grain
// in which places are told apart. 0 is unknown; all loopback addresses are one.
type Network uint64

const loopback Network = 1

// place is where a request came from.
type place struct {
	addr    netip.Addr // unmapped, invalid when the log does not tell
	net     Network
	private bool // not a public address
}

func placeOf(ip string) place {
	if ip == "" {
		return place{}
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return place{}
	}
	a = a.Unmap().WithZone("")
	return place{addr: a, net: networkOf(a), private: !event.PublicAddr(a)}
}

func networkOf(a netip.Addr) Network {
	switch {
	case a.IsLoopback():
		return loopback
	case a.Is4():
		b := a.As4()
		return Network(1<<32 | uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8)
	}
	b := a.As16()
	return Network(binary.BigEndian.Uint64(b[:8]))
}

// Prefix returns the network's addresses: the zero Prefix when it is unknown,
// IPv4's for loopback.
func (n Network) Prefix() netip.Prefix {
	switch {
	case n == 0:
		return netip.Prefix{}
	case n == loopback:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 24)
	case n>>32 == 1:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), 0}), 24)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// String returns the network in CIDR notation, "" when unknown.
func (n Network) String() string {
	switch n {
	case 0:
		return ""
	case loopback:
		return "loopback"
	}
	return n.Prefix().String()
}

// Public reports whether the network is known and on the internet.
func (n Network) Public() bool { return event.PublicAddr(n.Prefix().Addr()) }

// NetworkOf returns the network of a textual address, 0 when it is none.
func NetworkOf(ip string) Network { return placeOf(ip).net }

// Network is NetworkOf, quicker for addresses that were asked for lately.
func (inv *Inventory) Network(ip string) Network { return inv.places.of(ip).net }

func (p place) known() bool { return p.addr.IsValid() }

func (p place) public() bool { return p.addr.IsValid() && !p.private }

func (p place) loopback() bool { return p.net == loopback }

// placeCache spares parsing the few addresses that most events come from. It is
// a cache only: what it holds never changes a result.
type placeCache [64]struct {
	n    uint8
	text [45]byte // the longest textual address
	p    place
}

func (c *placeCache) of(ip string) place {
	n := len(ip)
	if n < 2 || n > len(c[0].text) {
		return placeOf(ip)
	}
	slot := &c[(ip[n-1]^ip[n-2]<<2^byte(n)<<4)%byte(len(c))]
	if string(slot.text[:slot.n]) != ip {
		slot.n, slot.p = uint8(n), placeOf(ip)
		copy(slot.text[:], ip)
	}
	return slot.p
}
