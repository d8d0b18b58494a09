package k8saudit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestWhatIsRememberedChangesNothing decodes each record with a Decoder that has
// met all of them and with one that has met none. The records' memory is written
// over once they are decoded: what is remembered must not alias it.
func TestWhatIsRememberedChangesNothing(t *testing.T) {
	records := append(allRecords(t), variants()...)
	seasoned, recalled := new(Decoder), newEvent()
	for range 2 {
		for _, raw := range records {
			buf := bytes.Clone(raw)
			recalled.Reset()
			if err := seasoned.Decode(buf, recalled); err != nil {
				t.Fatal(err)
			}
			clear(buf)
		}
	}
	if n := remembers(seasoned); n < 50 {
		t.Fatalf("%d identities are remembered: the test tests nothing", n)
	}
	for _, raw := range records {
		fresh := newEvent()
		recalled.Reset()
		if err := new(Decoder).Decode(raw, fresh); err != nil {
			t.Fatal(err)
		}
		if err := seasoned.Decode(raw, recalled); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fresh, recalled, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-read +recalled) %s\n%s", raw, diff)
		}
	}
}

func remembers(d *Decoder) int {
	n := 0
	for i := range d.identities.slots {
		if d.identities.slots[i].raw != "" {
			n++
		}
	}
	return n
}

// variants returns records whose members about the actor begin alike and go on
// differently, come in other orders or more than once.
func variants() [][]byte {
	user := `"user":{"username":"system:node:a-node-with-a-rather-long-name.example","groups":["system:nodes","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=0a"]}}`
	var out [][]byte
	for _, members := range []string{
		user + `,"sourceIPs":["192.0.2.1"],"userAgent":"a"`,
		user + `,"sourceIPs":["192.0.2.1"],"userAgent":"a\"b"`,
		user + `,"sourceIPs":["192.0.2.1"],"userAgent":"ab"`,
		user + `,"sourceIPs":["198.51.100.7","192.0.2.1"],"userAgent":"a"`,
		user + `,"sourceIPs":["192.0.2.1"]`,
		user + `,"sourceIPs":1,"userAgent":2`,
		user + `,"sourceIPs":1,"userAgent":22`,
		user,
		user + `,"user":{"username":"b","extra":{"accessKeyId":["AKIA1"],"principalId":["AIDA1"]}},"userAgent":"a"`,
		user + `,"impersonatedUser":{"username":"c","uid":"1","groups":["g"]},"sourceIPs":["192.0.2.1"],"userAgent":"a"`,
		`"sourceIPs":["192.0.2.9"],` + user + `,"userAgent":"a"`,
		`"userAgent":"before",` + user + `,"sourceIPs":["192.0.2.1"]`,
		strings.ReplaceAll(user, `":`, `": `) + ` , "sourceIPs": ["192.0.2.1"], "userAgent": "a"`,
	} {
		for _, end := range []string{`}`, `,"userAgent":"z"}`, `,"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"c\""}}`,
			`,"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"c\"","z":"y"}}`,
			`,"annotations":{"authorization.k8s.io/reason":["RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"c\""]}}`} {
			out = append(out, []byte(`{"verb":"get","stage":"ResponseComplete","requestURI":"/a","stageTimestamp":"2026-11-22T05:28:14Z",`+members+end))
		}
	}
	return out
}
