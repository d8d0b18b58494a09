package condition

import (
	"fmt"
	"net/netip"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// The functions added to CEL.
const (
	// InCIDR is inCIDR(address, networks): the address lies in one of them.
	// What is not an address lies in none.
	InCIDR = "inCIDR"
	// Joined is joined(list): its elements with one space between.
	Joined = "joined"
)

func functions() []cel.EnvOption {
	strs := cel.ListType(cel.StringType)
	return []cel.EnvOption{
		cel.Function(InCIDR, cel.Overload("in_cidr_string_list", []*cel.Type{cel.StringType, strs}, cel.BoolType,
			cel.BinaryBinding(func(ip, nets ref.Val) ref.Val {
				return types.Bool(Contains(known(stringsOf(nets)), string(ip.(types.String))))
			}))),
		cel.Function(Joined, cel.Overload("joined_list", []*cel.Type{strs}, cel.StringType,
			cel.UnaryBinding(func(l ref.Val) ref.Val { return types.String(strings.Join(stringsOf(l), " ")) }))),
	}
}

func stringsOf(v ref.Val) []string {
	l := v.(traits.Lister)
	n := int(l.Size().(types.Int))
	out := make([]string, n)
	for i := range n {
		s, _ := l.Get(types.Int(i)).(types.String)
		out[i] = string(s)
	}
	return out
}

// Networks parses CIDR prefixes; a single address is a prefix of its own.
func Networks(cidrs []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(cidrs))
	for _, c := range cidrs {
		p, err := network(c)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func network(c string) (netip.Prefix, error) {
	if !strings.Contains(c, "/") {
		a, err := netip.ParseAddr(c)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("network %q is neither a CIDR prefix nor an address", c)
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(c)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("network %q is neither a CIDR prefix nor an address", c)
	}
	return p, nil
}

// known parses the prefixes that are ones: networks that come from an event
// rather than from the rule may be anything.
func known(cidrs []string) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range cidrs {
		if p, err := network(c); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// KnownNetworks is Networks without the entries that do not parse.
func KnownNetworks(cidrs []string) []netip.Prefix { return known(cidrs) }

// Contains reports whether one of nets holds the address. Text that is no
// address is held by none, at no cost: cloud logs put service names there.
func Contains(nets []netip.Prefix, ip string) bool {
	if !looksLikeAddr(ip) {
		return false
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func looksLikeAddr(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
