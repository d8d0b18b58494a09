package normalize_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/normalize"
)

func TestLeaves(t *testing.T) {
	tests := []struct {
		name, raw string
		want      []string
	}{
		{"scalars in order", `{"b":1,"a":true,"c":"x","d":null}`, []string{"b=1", "a=true", "c=x"}},
		{"nested and lists", `{"a":{"b":[1,{"c":"x"}]}}`, []string{"a.b[]=1", "a.b[].c=x"}},
		{"secrets", `{"Password":"p","db_password":"p","token":{"value":"v"},"secretId":"prod/db","accessKeyId":"AKIA"}`,
			[]string{"Password=[redacted]", "db_password=[redacted]", "token.value=[redacted]", "secretId=prod/db", "accessKeyId=AKIA"}},
		{"empty containers", `{"a":{},"b":[]}`, nil},
		{"broken end", `{"a":1,"b":`, []string{"a=1"}},
		{"nothing", ``, nil},
		{"long key hides nothing", `{"` + strings.Repeat("k", 300) + `":1,"a":2}`, []string{"a=2"}},
		{"deep value hides nothing", `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"a":2}`, []string{"a=2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, normalize.Leaves(nil, "", []byte(tt.raw))); diff != "" {
				t.Errorf("Leaves (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLeavesAreBounded(t *testing.T) {
	got := normalize.Leaves(nil, "", []byte(`[`+strings.Repeat(`"`+strings.Repeat("é", 1000)+`",`, 400)+`1]`))
	if len(got) != normalize.MaxLeaves {
		t.Errorf("%d leaves, want %d", len(got), normalize.MaxLeaves)
	}
	if n := len(got[0]); n > normalize.MaxValue+len("[]=") {
		t.Errorf("a leaf of %d bytes, want at most %d", n, normalize.MaxValue)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]normalize.Text{
		`"a"`: "a", `1.5`: "1.5", `true`: "true", `null`: "", `{"value":"v","localizedValue":"V"}`: "v", `[1]`: "", `{"x":1}`: "",
	} {
		got := normalize.Text("before")
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want && in != "null" {
			t.Errorf("Text of %s = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:443": "192.0.2.1", "[2001:db8::1]:443": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1",
		"private": "", "eks.amazonaws.com": "", "": "",
	} {
		if got := normalize.Address(in); got != want {
			t.Errorf("Address(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	const want = 1772359200123456700
	for _, in := range []string{"2026-03-01T10:00:00.1234567Z", "2026-03-01T11:00:00.1234567+01:00", "2026-03-01T10:00:00.1234567"} {
		if got := normalize.Time(in); got != want {
			t.Errorf("Time(%q) = %d, want %d", in, got, want)
		}
	}
	if got := normalize.Time("Mar 1, 2026"); got != 0 {
		t.Errorf("Time of no time = %d, want 0", got)
	}
}
