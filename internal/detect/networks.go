package detect

import "net/netip"

// byteSet is a set of first bytes of IPv4 addresses.
type byteSet [4]uint64

// firstBytes returns with which bytes the IPv4 addresses of nets begin.
func firstBytes(nets []netip.Prefix) byteSet {
	var s byteSet
	for _, n := range nets {
		if !n.Addr().Is4() {
			continue
		}
		first := int(n.Masked().Addr().As4()[0])
		for b := first; b < first+1<<max(8-n.Bits(), 0); b++ {
			s[b>>6] |= 1 << (b & 63)
		}
	}
	return s
}

// mayHold reports whether an address can be in a network of the set, by its
// first byte alone: most addresses need not be parsed. Text in any other form
// than IPv4's can.
func (s *byteSet) mayHold(ip string) bool {
	b := 0
	for i := 0; i < len(ip) && i < 4; i++ {
		c := ip[i]
		switch {
		case c >= '0' && c <= '9':
			b = 10*b + int(c-'0')
		case c == '.' && b < 256:
			return s[b>>6]>>(b&63)&1 == 1
		default:
			return true
		}
	}
	return true
}
