package client_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/client"
)

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolve(t *testing.T) {
	profile := write(t, "client.yaml", "server: https://Clew.example:8443\ntoken: clew_p\nfingerprint: SHA256:aa\n", 0o600)
	token := write(t, "token", " clew_f\n", 0o600)
	data := filepath.Dir(write(t, "client.yaml", "server: https://127.0.0.1:9\ntoken: clew_d\ncaFile: ca.crt\n", 0o600))
	tests := []struct {
		name string
		s    client.Settings
		env  func(string) string
		want client.Profile
	}{
		{"nothing", client.Settings{}, env(), client.Profile{Server: client.DefaultServer}},
		{"profile", client.Settings{Profile: profile}, env(), client.Profile{Server: "https://clew.example:8443", Token: "clew_p", Fingerprint: "SHA256:aa"}},
		{"no profile", client.Settings{Profile: profile + "x"}, env(), client.Profile{Server: client.DefaultServer}},
		{
			"environment before profile", client.Settings{Profile: profile}, env("CLEW_TOKEN", "clew_e", "CLEW_CA_FILE", "ca"),
			client.Profile{Server: "https://clew.example:8443", Token: "clew_e", CAFile: "ca"},
		},
		{
			"flags before environment", client.Settings{TokenFile: token, Server: "https://a", Fingerprint: "SHA256:bb"},
			env("CLEW_TOKEN", "clew_e", "CLEW_SERVER", "https://b", "CLEW_FINGERPRINT", "SHA256:cc"),
			client.Profile{Server: "https://a", Token: "clew_f", Fingerprint: "SHA256:bb"},
		},
		{"same server said again", client.Settings{Profile: profile, Server: "https://clew.EXAMPLE:8443/"}, env(), client.Profile{Server: "https://clew.example:8443", Token: "clew_p", Fingerprint: "SHA256:aa"}},
		{"no token of the profile to another server", client.Settings{Profile: profile, Server: "https://evil.example:8443"}, env(), client.Profile{Server: "https://evil.example:8443"}},
		{"nor through the environment", client.Settings{Profile: profile}, env("CLEW_SERVER", "https://evil.example"), client.Profile{Server: "https://evil.example"}},
		{
			"data folder alone counts", client.Settings{Profile: profile, Data: data}, env("CLEW_SERVER", "https://b", "CLEW_TOKEN", "clew_e"),
			client.Profile{Server: "https://127.0.0.1:9", Token: "clew_d", CAFile: filepath.Join(data, "ca.crt")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.s.Resolve(tt.env)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	const secret = "clew_planted_secret"
	file := func(text string, mode os.FileMode) client.Settings {
		return client.Settings{Profile: write(t, "client.yaml", text, mode)}
	}
	tests := []struct {
		name string
		s    client.Settings
		want string
	}{
		{"plain http", client.Settings{Server: "http://a"}, "https only"},
		{"no address", client.Settings{Server: "a:8443"}, "not an address"},
		{"user in it", client.Settings{Server: "https://u@a"}, "more than scheme, host and port"},
		{"path", client.Settings{Server: "https://a/b"}, "more than scheme, host and port"},
		{"no data", client.Settings{Data: t.TempDir()}, "no server has written client.yaml"},
		{"token file", client.Settings{TokenFile: "none"}, "reading the token"},
		{"bad token", client.Settings{TokenFile: write(t, "t", secret+" b", 0o600)}, "characters that no token has"},
		{"open to others", file("server: https://a\n", 0o640), "others may read it (mode 0640)"},
		{"unknown key", file("server: https://a\ntoken: "+secret+"\ninsecure: true\n", 0o600), "client.yaml:3: not a profile: keys are"},
		{"broken", file("token: ["+secret, 0o600), "reading the profile: "},
		{"wrong type", file("token: {a: "+secret+"}\n", 0o600), "client.yaml:1: not a profile"},
		{"no server", file("token: "+secret+"\n", 0o600), "it has no server"},
		{"huge", file("# "+strings.Repeat("x", 70<<10), 0o600), "the limit is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.s.Resolve(env())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestProfileWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "client.yaml")
	want := client.Profile{Server: "https://a", Token: "clew_x: #", CAFile: "/ca.crt", Fingerprint: "SHA256:aa"}
	for range 2 { // the second replaces the first
		if err := want.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := client.ReadProfile(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

func TestDefaultProfile(t *testing.T) {
	for want, e := range map[string]func(string) string{
		"":                                 env(),
		"/home/a/.config/clew/client.yaml": env("HOME", "/home/a", "XDG_CONFIG_HOME", "relative"),
		"/cfg/clew/client.yaml":            env("HOME", "/home/a", "XDG_CONFIG_HOME", "/cfg"),
	} {
		if got := client.DefaultProfile(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// system answers GetStatus with the error of the test and counts the requests.
type system struct {
	clewv1connect.UnimplementedSystemServiceHandler
	err   error
	calls int
	token string
}

func (s *system) GetStatus(_ context.Context, r *connect.Request[clewv1.GetStatusRequest]) (*connect.Response[clewv1.GetStatusResponse], error) {
	s.calls++
	s.token = r.Header().Get("Authorization")
	return connect.NewResponse(&clewv1.GetStatusResponse{Version: "v1"}), s.err
}

func serve(t *testing.T, s *system) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(clewv1connect.NewSystemServiceHandler(s))
	ts := httptest.NewUnstartedServer(mux)
	ts.EnableHTTP2 = true
	ts.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}

func status(t *testing.T, p client.Profile) error {
	t.Helper()
	c, err := client.New(p)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.System.GetStatus(t.Context(), connect.NewRequest(&clewv1.GetStatusRequest{}))
	return err
}

// TestTrust holds that a request, and with it the token, goes only to a server whose
// certificate is the expected one.
func TestTrust(t *testing.T) {
	s := &system{}
	ts := serve(t, s)
	fingerprint := client.Fingerprint(ts.Certificate())
	ca := write(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})), 0o600)
	wrong := "SHA256:" + strings.Repeat("0", 64)
	withColons := strings.ToUpper(strings.TrimPrefix(fingerprint, "SHA256:"))
	for i := len(withColons) - 2; i > 0; i -= 2 {
		withColons = withColons[:i] + ":" + withColons[i:]
	}
	tests := []struct {
		name string
		p    client.Profile
		want string // part of the error, "" for none
	}{
		{"CA", client.Profile{CAFile: ca}, ""},
		{"fingerprint", client.Profile{Fingerprint: fingerprint}, ""},
		{"fingerprint as openssl prints it", client.Profile{Fingerprint: "sha256=" + withColons}, ""},
		{"both", client.Profile{CAFile: ca, Fingerprint: fingerprint}, ""},
		{"neither", client.Profile{}, "if its log shows " + fingerprint + ", use --fingerprint"},
		{"other fingerprint", client.Profile{Fingerprint: wrong}, "has fingerprint " + fingerprint + ", not " + wrong},
		{"CA but other fingerprint", client.Profile{CAFile: ca, Fingerprint: wrong}, "not " + wrong},
		{"no CA in the file", client.Profile{CAFile: write(t, "x", "x", 0o600)}, "no certificate in PEM"},
		{"no fingerprint", client.Profile{Fingerprint: "SHA256:12"}, "64 hex digits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := s.calls
			tt.p.Server, tt.p.Token = ts.URL, "clew_t"
			err := status(t, tt.p)
			if tt.want == "" {
				if err != nil || s.calls != before+1 || s.token != "Bearer clew_t" {
					t.Errorf("error %v, %d calls, token %q", err, s.calls-before, s.token)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if s.calls != before {
				t.Error("the request was sent all the same")
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s := &system{}
	ts := serve(t, s)
	p := client.Profile{Server: ts.URL, Fingerprint: client.Fingerprint(ts.Certificate())}
	tests := []struct {
		code connect.Code
		want string
	}{
		{connect.CodeUnauthenticated, "(GetStatus): unauthenticated: no\\x1b[2J; the token is missing"},
		{connect.CodePermissionDenied, "it needs a token of role viewer"},
		{connect.CodeNotFound, "not_found: no\\x1b[2J"},
	}
	for _, tt := range tests {
		s.err = connect.NewError(tt.code, errors.New("no\x1b[2J"))
		err := status(t, p)
		if err == nil || !strings.Contains(err.Error(), tt.want) || connect.CodeOf(err) != tt.code {
			t.Errorf("error %v with code %v, want %q with %v", err, connect.CodeOf(err), tt.want, tt.code)
		}
	}
	ts.Close()
	if err := status(t, p); err == nil || !strings.Contains(err.Error(), "is the server running, and is --server right?") {
		t.Errorf("a server that is gone: %v", err)
	}
}

// TestRedirect holds that the token does not follow a redirect to another place.
func TestRedirect(t *testing.T) {
	s := &system{}
	target := serve(t, s)
	from := httptest.NewTLSServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	defer from.Close()
	err := status(t, client.Profile{Server: from.URL, Token: "clew_t", Fingerprint: client.Fingerprint(from.Certificate())})
	if err == nil || s.calls != 0 {
		t.Errorf("error %v, %d calls", err, s.calls)
	}
}
