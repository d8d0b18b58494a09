package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/clew-sec/clew/internal/rule/condition"
)

// TestFirstBytesMissNoNetwork asks about random addresses and text that looks
// like some: what a network contains must never be ruled out.
func TestFirstBytesMissNoNetwork(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	address := func() string {
		var b [4]byte
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		return netip.AddrFrom4(b).String()
	}
	held, ruledOut := 0, 0
	for range 2000 {
		nets := condition.KnownNetworks([]string{fmt.Sprintf("%s/%d", address(), rng.IntN(33)), "2001:db8::/32", "::ffff:192.0.2.0/120"})
		s := firstBytes(nets)
		texts := []string{address(), "::ffff:" + address(), "2001:db8::1", "", ".", "12", "300.1.1.1", "1.2.3", nets[0].Addr().String()}
		for _, ip := range texts {
			switch {
			case condition.Contains(nets, ip):
				held++
				if !s.mayHold(ip) {
					t.Fatalf("%q is in %v and was ruled out", ip, nets)
				}
			case !s.mayHold(ip):
				ruledOut++
			}
		}
	}
	if held < 2000 || ruledOut < 1000 {
		t.Errorf("%d addresses in a network, %d ruled out: the test shows nothing", held, ruledOut)
	}
}
