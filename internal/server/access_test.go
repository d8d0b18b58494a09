package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server"
	"github.com/clew-sec/clew/internal/server/auth"
)

// mountAll mounts a route for each role.
func mountAll(s *server.Server) {
	s.Mount("GET /v1/things/{id}", auth.Viewer, http.HandlerFunc(ok))
	s.Mount("POST /v1/things/{id}", auth.Analyst, http.HandlerFunc(ok))
	s.Mount("DELETE /v1/things/{id}", auth.Admin, http.HandlerFunc(ok))
	s.Mount("POST /v1/sources/{source}", auth.Ingest, http.HandlerFunc(ok))
	s.Mount("GET /files/{path...}", auth.Viewer, http.HandlerFunc(ok))
}

var wildcard = strings.NewReplacer("{id}", "a1", "{source}", "audit", "{path...}", "a/b")

// TestEveryRouteAsksForItsRole holds each route to the table of roles: whoever has
// no token gets 401, whoever has another role 403. It is a claim of the threat
// model.
func TestEveryRouteAsksForItsRole(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	public := map[string]bool{"GET /healthz": true, "GET /readyz": true}
	if len(w.Routes()) < 12 {
		t.Fatalf("%d routes", len(w.Routes()))
	}
	for _, route := range w.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = wildcard.Replace(path)
		if (route.Role == auth.Public) != public[route.Pattern] {
			t.Errorf("%s is open to %s", route.Pattern, route.Role)
		}
		if route.Role == auth.Public {
			continue
		}
		w.want(w.do(method, path, "", nil), http.StatusUnauthorized)
		for role, token := range w.tokens {
			if role.May(route.Role) {
				continue // that these pass is seen elsewhere
			}
			if a := w.do(method, path, token, nil); a.code != http.StatusForbidden {
				t.Errorf("%s as %s: %d", route.Pattern, role, a.code)
			}
		}
	}
	for _, path := range []string{"/", "/v1", "/v1/things", "/admin", "/debug/pprof/"} {
		w.want(w.do("GET", path, w.tokens[auth.Admin], nil), http.StatusNotFound)
	}
}

func TestRolesPass(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	for role, can := range map[auth.Role][]string{
		auth.Viewer: {"GET /v1/things/a", "GET /metrics", "GET /files/a/b.css"}, auth.Analyst: {"GET /v1/things/a", "POST /v1/things/a"},
		auth.Admin: {"GET /v1/things/a", "POST /v1/things/a", "DELETE /v1/things/a"}, auth.Ingest: {"POST /v1/sources/audit"}, auth.Metrics: {"GET /metrics"},
	} {
		for _, call := range can {
			method, path, _ := strings.Cut(call, " ")
			w.want(w.do(method, path, w.tokens[role], nil), http.StatusOK)
		}
	}
}

// TestBadTokensAreRefused is a claim of the threat model.
func TestBadTokensAreRefused(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	token, rec, err := w.auth.Create(t.Context(), auth.NewToken{Name: "x", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	short, _, err := w.auth.Create(t.Context(), auth.NewToken{Name: "x", Role: auth.Viewer, Lives: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w.want(w.do("GET", "/v1/things/a", token, nil), http.StatusOK)
	if err := w.auth.Revoke(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	a := w.want(w.do("GET", "/v1/things/a", token, nil), http.StatusUnauthorized)
	if a.header.Get("WWW-Authenticate") == "" || !strings.Contains(a.body, `"unauthenticated"`) {
		t.Errorf("%+v", a)
	}
	time.Sleep(2 * time.Millisecond)
	w.want(w.do("GET", "/v1/things/a", short, nil), http.StatusUnauthorized)
	w.want(w.do("GET", "/v1/things/a", w.tokens[auth.Viewer][:20], nil), http.StatusUnauthorized)
	w.want(w.do("GET", "/v1/things/a?token="+w.tokens[auth.Viewer], "", nil), http.StatusUnauthorized)
	for range 10 {
		w.do("GET", "/v1/things/a", "wrong", nil)
	}
	if a := w.want(w.do("GET", "/v1/things/a", "wrong", nil), http.StatusTooManyRequests); a.header.Get("Retry-After") != "60" {
		t.Errorf("%+v", a)
	}
}

// TestIngestTokenIsBoundToItsSource is a claim of the threat model.
func TestIngestTokenIsBoundToItsSource(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	w.want(w.do("POST", "/v1/sources/audit", w.tokens[auth.Ingest], strings.NewReader("{}")), http.StatusOK)
	w.want(w.do("POST", "/v1/sources/other", w.tokens[auth.Ingest], strings.NewReader("{}")), http.StatusForbidden)
	w.want(w.do("POST", "/v1/sources/other", w.tokens[auth.Admin], strings.NewReader("{}")), http.StatusForbidden)
}

// TestPathsHoldIdsOnly is a claim of the threat model.
func TestPathsHoldIdsOnly(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	for _, id := range []string{"..%2f..%2fetc%2fpasswd", "%2e%2e", ".hidden", "a%00b", "a%0ab", "a%5cb", "*", "%3e", "-rf", "a%20b", "%C3%A9", strings.Repeat("a", 201)} {
		if a := w.do("GET", "/v1/things/"+id, w.tokens[auth.Viewer], nil); a.code != http.StatusBadRequest && a.code != http.StatusNotFound {
			t.Errorf("%q: %d", id, a.code)
		}
	}
	for _, path := range []string{"/files/a/%2e%2e/b", "/files/..%2fa", "/files/a%2f%2e%2e%2fb", "/files/a//b", "/files/.git/config", "/files/a/../../v1/things/a"} {
		if a := w.do("GET", path, w.tokens[auth.Viewer], nil); a.code == http.StatusOK {
			t.Errorf("%q: %d", path, a.code)
		}
	}
	w.want(w.do("POST", "/v1/sources/..%2faudit", w.tokens[auth.Ingest], nil), http.StatusForbidden)
	w.want(w.do("GET", "/v1/things/0198c1b2-aa.b:c@d_e", w.tokens[auth.Viewer], nil), http.StatusOK)
}

// TestSetupAndSession goes the way of a person on the first day.
func TestSetupAndSession(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	a := w.want(w.do("POST", "/v1/setup", w.tokens[auth.Setup], strings.NewReader(`{"name":"Ada L."}`)), http.StatusOK)
	var made struct{ Token, ID string }
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || made.Token == "" {
		t.Fatal(a.body)
	}
	if e := w.trail.last(); e.Action != "POST /v1/setup" || e.Target != made.ID || e.Outcome != "200" {
		t.Errorf("%+v", e)
	}
	w.want(w.do("POST", "/v1/setup", w.tokens[auth.Setup], strings.NewReader(`{"name":"Eve"}`)), http.StatusUnauthorized)
	w.want(w.do("DELETE", "/v1/things/a", made.Token, nil), http.StatusOK)

	a = w.want(w.do("POST", "/v1/session", made.Token, nil), http.StatusOK)
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	with := func(r *http.Request) { r.Header.Set("Cookie", cookie) }
	a = w.want(w.do("GET", "/v1/session", "", nil, with), http.StatusOK)
	if !strings.Contains(a.body, `"role":"admin"`) {
		t.Error(a.body)
	}
	w.want(w.do("DELETE", "/v1/things/a", "", nil, with), http.StatusOK)
	w.want(w.do("DELETE", "/v1/session", "", nil, with), http.StatusOK)
	w.want(w.do("DELETE", "/v1/things/a", "", nil, with), http.StatusUnauthorized)
}

// TestForeignPagesCannotUseASession is a claim of the threat model.
func TestForeignPagesCannotUseASession(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	a := w.want(w.do("POST", "/v1/session", w.tokens[auth.Admin], nil), http.StatusOK)
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	for _, from := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		a := w.do("DELETE", "/v1/things/a", "", nil, func(r *http.Request) {
			r.Header.Set("Cookie", cookie)
			r.Header.Set(from[0], from[1])
		})
		w.want(a, http.StatusForbidden)
	}
	w.want(w.do("DELETE", "/v1/things/a", "", nil, func(r *http.Request) {
		r.Header.Set("Cookie", cookie)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}), http.StatusOK)
}

// TestCallsAreOnTheTrail is a claim of the threat model.
func TestCallsAreOnTheTrail(t *testing.T) {
	w := start(t, server.Config{}, func(s *server.Server) {
		mountAll(s)
		s.Mount("GET /export/{id}", auth.Viewer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			auth.Note(r.Context(), r.PathValue("id"))
			server.Error(w, http.StatusNotFound, "no such trace")
		}))
	})
	count := func() int { w.trail.mu.Lock(); defer w.trail.mu.Unlock(); return len(w.trail.entries) }
	w.do("GET", "/v1/things/a", w.tokens[auth.Viewer], nil)
	if count() != 0 {
		t.Errorf("a plain read is on the trail: %+v", w.trail.last())
	}
	for i, tc := range []struct {
		call    string
		role    auth.Role
		outcome string
		target  string
	}{
		{"POST /v1/things/a", auth.Analyst, "200", ""}, {"DELETE /v1/things/a", auth.Admin, "200", ""},
		{"DELETE /v1/things/a", auth.Viewer, "403", ""}, {"GET /export/t1", auth.Viewer, "404", "t1"}, {"POST /v1/session", auth.Viewer, "200", "*"},
	} {
		method, path, _ := strings.Cut(tc.call, " ")
		a := w.do(method, path, w.tokens[tc.role], nil)
		e := w.trail.last()
		id := strings.Split(w.tokens[tc.role], "_")[1]
		if tc.target == "*" {
			tc.target = id
		}
		if count() != i+1 || e.Principal.ID != id || e.Outcome != tc.outcome || e.Target != tc.target || e.From != "127.0.0.1" || e.RequestID != a.header.Get("X-Request-Id") || e.At.IsZero() {
			t.Errorf("%s: %+v", tc.call, e)
		}
	}
	w.trail.mu.Lock()
	w.trail.err = errors.New("full")
	w.trail.mu.Unlock()
	w.do("DELETE", "/v1/things/a", w.tokens[auth.Admin], nil)
	if log := w.log.String(); !strings.Contains(log, "an entry of the trail cannot be kept") || !strings.Contains(log, `"Action":"DELETE /v1/things/{id}"`) {
		t.Error("an entry is lost")
	}
}

// TestNoSecretsInTheLog plants secrets wherever a caller can put one, and tokens that
// are real, and looks for them in all that is logged and kept. It is a claim of the
// threat model.
func TestNoSecretsInTheLog(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	const planted = "pl4nted5ecret"
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	plant := strings.NewReader
	for _, token := range w.tokens {
		w.do("GET", "/v1/things/a", token, nil)
		w.do("POST", "/v1/sources/other", token, plant(planted))
		w.do("POST", "/v1/things/a", token+"x", plant(planted))
	}
	w.do("POST", "/v1/setup", w.tokens[auth.Setup], plant(`{"name":"`+planted+`\n"}`))
	made := w.do("POST", "/v1/setup", w.tokens[auth.Setup], plant(`{"name":"Ada"}`))
	login := w.do("POST", "/v1/session", w.tokens[auth.Viewer], nil)
	cookie, _, _ := strings.Cut(strings.TrimPrefix(login.header.Get("Set-Cookie"), "__Host-clew="), ";")
	w.do("GET", "/v1/session", "", nil, set("Cookie", "__Host-clew="+cookie))
	w.do("GET", "/v1/session", "", nil, set("Cookie", "__Host-clew="+planted))
	w.do("GET", "/v1/things/a?token="+planted, w.tokens[auth.Viewer], nil)
	w.do("GET", "/v1/things/"+planted, w.tokens[auth.Viewer], nil)
	w.do("GET", "/"+planted, "", nil)
	w.do(strings.ToUpper(planted), "/healthz", "", nil)
	w.do("GET", "/v1/things/a", planted, nil, set("User-Agent", planted), set("X-Amz-Firehose-Access-Key", planted), set("Referer", planted), set("X-Forwarded-For", planted), set("X-Request-Id", planted))
	w.do("GET", "/v1/things/a", "", nil, set("Authorization", "Basic "+planted))
	c := w.dial()
	fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nBad Header %s\r\n\r\n", planted, planted)
	io.Copy(io.Discard, c)
	c.Close()

	var seen strings.Builder
	seen.WriteString(w.log.String())
	w.trail.mu.Lock()
	fmt.Fprintf(&seen, "%+v", w.trail.entries)
	w.trail.mu.Unlock()
	seen.WriteString(w.do("GET", "/metrics", w.tokens[auth.Metrics], nil).body)
	secrets := []string{planted, strings.ToUpper(planted), cookie}
	for _, text := range append(slices.Collect(maps.Values(w.tokens)), made.body) {
		m := regexp.MustCompile(`clew_[a-z0-9]+_([a-z0-9]{52})`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no token in %q", text)
		}
		secrets = append(secrets, m[1])
	}
	for _, s := range secrets {
		if strings.Contains(seen.String(), s) {
			at := strings.Index(seen.String(), s)
			t.Errorf("%q is told: …%s…", s, seen.String()[max(0, at-200):min(at+50, seen.Len())])
		}
	}
	if strings.Count(w.log.String(), `"msg":"request"`) < 20 {
		t.Error("little was logged: the test looks at nothing")
	}
}

func TestMountRefuses(t *testing.T) {
	s := server.New(server.Config{Auth: auth.New(auth.Config{}), Log: slog.New(slog.DiscardHandler)})
	for _, tc := range []struct {
		pattern string
		role    auth.Role
	}{{"GET /a", ""}, {"GET /a", "root"}, {"POST /posts", auth.Ingest}, {"GET /healthz", auth.Viewer}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was mounted", tc)
				}
			}()
			s.Mount(tc.pattern, tc.role, http.HandlerFunc(ok))
		}()
	}
}
