package trace

import "testing"

func TestPointsJSON(t *testing.T) {
	for p := Points(-5); p <= 1000; p++ {
		b, _ := p.MarshalJSON()
		var back Points
		if err := back.UnmarshalJSON(b); err != nil || back != p {
			t.Fatalf("%s: %s, %v", b, back, err)
		}
	}
	for _, bad := range []string{`"x"`, `null`, `1e99`, `NaN`, ``} {
		if new(Points).UnmarshalJSON([]byte(bad)) == nil {
			t.Errorf("took %s", bad)
		}
	}
}
