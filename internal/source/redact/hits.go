package redact

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// hits are the places in a document that may be secrets or name them. They are
// looked for once; the parts of the document are then asked about by place.
type hits struct {
	at       []int // where needles begin, ascending
	userinfo bool  // there is something like scheme://user:password@ somewhere
}

func (h hits) none() bool { return len(h.at) == 0 && !h.userinfo }

// within reports whether a needle begins in b[start:end].
func (h hits) within(start, end int) bool {
	i, _ := slices.BinarySearch(h.at, start)
	return i < len(h.at) && h.at[i] < end
}

// hitsOf finds the needles of a document. It looks at every other place only, for
// three bytes that a needle has at one of two places next to each other.
func hitsOf(b []byte) (h hits) {
	i := 0
	for ; i+8 <= len(b); i += 6 {
		w := binary.LittleEndian.Uint64(b[i:]) | 0x2020202020202020
		for k := range 3 {
			if three := uint32(w>>(16*k)) & 0xffffff; probes.may(three) {
				h.at = probes.find(h.at, b, i+2*k, three)
			}
		}
	}
	for ; i+3 <= len(b); i += 2 {
		three := fold(uint32(b[i])|uint32(b[i+1])<<8|uint32(b[i+2])<<16) & 0xffffff
		h.at = probes.find(h.at, b, i, three)
	}
	if !slices.IsSorted(h.at) {
		slices.Sort(h.at)
	}
	h.at = slices.Compact(h.at) // a needle may begin as another does
	h.userinfo = hasUserinfo(b)
	return h
}

const probeBits = 15

// probeTable holds for each needle the three folded bytes at two places next to each
// other: the pair that a usual event has least often.
type probeTable struct {
	bits [1 << (probeBits - 6)]uint64 // small, to stay in the cache
	of   map[uint32][]probe
}

type probe struct {
	text []byte // of the needle
	at   int    // where in it the three bytes are
}

func (t *probeTable) may(three uint32) bool {
	h := three * slotFactor >> (32 - probeBits)
	return t.bits[h>>6]>>(h&63)&1 != 0
}

// find appends where the needles begin that have three, which stands at b[i].
func (t *probeTable) find(at []int, b []byte, i int, three uint32) []int {
	for _, p := range t.of[three] {
		start := i - p.at
		if start >= 0 && start+len(p.text) <= len(b) && bytes.EqualFold(b[start:start+len(p.text)], p.text) {
			at = append(at, start)
		}
	}
	return at
}

func (t *probeTable) add(text []byte) {
	best, least := 0, -1
	for at := range len(text) - 3 {
		n := countFold(text[at:at+3]) + countFold(text[at+1:at+4])
		if least < 0 || n < least {
			best, least = at, n
		}
	}
	for at := best; at <= best+1; at++ {
		three := fold(uint32(text[at])|uint32(text[at+1])<<8|uint32(text[at+2])<<16) & 0xffffff
		h := three * slotFactor >> (32 - probeBits)
		t.bits[h>>6] |= 1 << (h & 63)
		t.of[three] = append(t.of[three], probe{text, at})
	}
}

func countFold(three []byte) int { return bytes.Count([]byte(usual), three) }

var probes = func() *probeTable {
	t := &probeTable{of: map[uint32][]probe{}}
	for _, of := range needlesOf {
		for _, n := range of {
			t.add(n.text)
		}
	}
	return t
}()

// usual is what most events say, in lower case: it tells which letters are frequent.
const usual = `{"kind":"event","apiversion":"audit.k8s.io/v1","level":"requestresponse","auditid":"","stage":"responsecomplete",
"requesturi":"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager?timeout=5s","verb":"update","user":{
"username":"system:serviceaccount:kube-system:replicaset-controller","uid":"","groups":["system:serviceaccounts","system:authenticated",
"system:nodes"],"extra":{"authentication.kubernetes.io/credential-id":["jti="],"authentication.kubernetes.io/pod-name":["coredns"],
"authentication.kubernetes.io/node-name":["control-plane"]}},"sourceips":["192.0.2.1"],"useragent":"kube-scheduler/v1.36.3 (linux/amd64)
kubernetes/leader-election","objectref":{"resource":"replicasets","namespace":"default","name":"web","apiversion":"apps/v1"},
"responsestatus":{"metadata":{},"status":"success","code":200},"requestobject":{"kind":"deployment","metadata":{"name":"web","namespace":
"default","uid":"","resourceversion":"1","generation":1,"creationtimestamp":"","labels":{"app.kubernetes.io/name":"web"},"annotations":{
"deployment.kubernetes.io/revision":"1"},"ownerreferences":[{"controller":true,"blockownerdeletion":true}],"managedfields":[{"manager":
"kubectl","operation":"update","fieldstype":"fieldsv1"}]},"spec":{"replicas":1,"selector":{"matchlabels":{}},"template":{"spec":{
"containers":[{"name":"web","image":"registry","ports":[{"containerport":80,"protocol":"tcp"}],"env":[],"resources":{"limits":{"cpu":"1",
"memory":"1gi"}},"terminationmessagepath":"/dev/termination-log","imagepullpolicy":"always","volumemounts":[],"securitycontext":{}}],
"restartpolicy":"always","dnspolicy":"clusterfirst","serviceaccountname":"default","schedulername":"default-scheduler","tolerations":[
{"operator":"exists","effect":"noexecute"}]}},"strategy":{"type":"rollingupdate"}},"status":{"conditions":[{"type":"available","status":
"true","lasttransitiontime":"","reason":"minimumreplicasavailable","message":"deployment has minimum availability."}],
"observedgeneration":1}},"requestreceivedtimestamp":"","stagetimestamp":"","annotations":{"authorization.k8s.io/decision":"allow",
"authorization.k8s.io/reason":"rbac: allowed by clusterrolebinding of clusterrole to group"}}`
