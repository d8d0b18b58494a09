package redact

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOwnPatterns holds that an installation's patterns are found wherever a string
// stands, also where nothing else says that there is a secret.
func TestOwnPatterns(t *testing.T) {
	r, err := New([]byte("0123456789abcdef"), `planted-[0-9]+`, `ticket=[a-z]+`, `[0-9]+-tail`, `[0-9a-f]{8}`, `x*`)
	if err != nil {
		t.Fatal(err)
	}
	inner := quoted(`{"note":"planted-1"}`)
	for name, record := range map[string]string{
		"string":          auditHead + `"userAgent":"tool planted-1 end"}`,
		"escaped":         auditHead + `"userAgent":"plan\u0074ed-1"}`,
		"URI path":        auditHead + `"requestURI":"/x/planted-1?a=b"}`,
		"URI value":       auditHead + `"requestURI":"/x?a=planted%2D1"}`,
		"URI name":        auditHead + `"requestURI":"/x?ticket=planted"}`,
		"JSON inside":     auditHead + `"annotations":{"a":` + inner + `}}`,
		"overlap":         auditHead + `"userAgent":"planted-123-tail"}`,
		"no JSON":         `planted-1 {`,
		"hex beside mark": auditHead + `"userAgent":"planted-1 0123abcd"}`,
	} {
		out := string(r.Record([]byte(record)))
		plain := out
		var v any
		if json.Unmarshal([]byte(out), &v) == nil {
			b, _ := json.Marshal(v)
			plain = string(b)
		} else if name != "no JSON" {
			t.Errorf("%s: no longer JSON: %s", name, out)
		}
		if strings.Contains(plain, "planted") || strings.Contains(plain, "-tail") || strings.Contains(plain, "0123abcd") || !strings.Contains(plain, "redacted") {
			t.Errorf("%s: %s", name, out)
		}
		if again := string(r.Record([]byte(out))); again != out {
			t.Errorf("%s: redacted twice %s, once %s", name, again, out)
		}
	}
	if _, err := New([]byte("0123456789abcdef"), "("); err == nil {
		t.Error("a pattern that is none was taken")
	}
}
