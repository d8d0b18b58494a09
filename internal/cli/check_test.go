package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/rules"
)

// states runs `clew check -o json` and returns the state of each check.
func states(t *testing.T, at time.Time, args ...string) (map[string]string, int) {
	t.Helper()
	content := cli.Content{Rules: rules.FS, Catalogue: matrix.Load()}
	engine := func(p *rule.Pack) (ruletest.Engine, error) { return pipeline.NewRuleEngine(p) }
	cmd := cli.NewCheckCommand(cli.CheckDeps{
		AuditPolicyDeps: cli.AuditPolicyDeps{RuleDeps: cli.RuleDeps{Content: content, Engine: engine}, Matrix: matrix.Load},
		Remote:          cli.RemoteDeps{Env: func(string) string { return "" }, Now: func() time.Time { return at }},
	})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"-o", "json", "--listen", "127.0.0.1:0", "--log-max-bytes", "64MiB", "--log-min-free", "1KiB"}, args...))
	err := cmd.ExecuteContext(t.Context())
	var report struct {
		Checks []struct{ Check, State, Detail, Advice string }
	}
	if len(out.Bytes()) > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
	}
	got := map[string]string{}
	for _, f := range report.Checks {
		got[f.Check] = f.State
		if (f.State == "ok") != (f.Advice == "") || f.Detail == "" {
			t.Errorf("only what is not in order has advice, and all say what they saw: %+v", f)
		}
	}
	return got, cli.ExitCode(err)
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// certificate writes a certificate that ends at a time, and its key.
func certificate(t *testing.T, ends time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: ends.AddDate(-1, 0, 0), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return write(t, block("CERTIFICATE", der)), write(t, block("PRIVATE KEY", private))
}

func TestCheck(t *testing.T) {
	const header = "apiVersion: clew/v1\nkind: Server\n"
	good, goodKey := certificate(t, now.AddDate(0, 6, 0))
	soon, soonKey := certificate(t, now.AddDate(0, 0, 7))
	old, oldKey := certificate(t, now.AddDate(0, 0, -1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, tc := range map[string]struct {
		args  []string
		check string
		state string
		code  int
	}{
		"defaults":            {nil, "configuration", "ok", 0},
		"folder to be made":   {[]string{"--data", filepath.Join(t.TempDir(), "a", "b")}, "data folder", "ok", 0},
		"data is a file":      {[]string{"--data", write(t, "x")}, "data folder", "fail", 1},
		"no room":             {[]string{"--log-min-free", "8000TiB"}, "log folder", "fail", 1},
		"little room":         {[]string{"--log-max-bytes", "8000TiB"}, "log folder", "warn", 0},
		"unknown key":         {[]string{"--config", write(t, header+"dataDri: /x\n")}, "configuration", "fail", 1},
		"no such file":        {[]string{"--config", "/nowhere/clew.yaml"}, "configuration", "fail", 1},
		"secret is missing":   {[]string{"--auth-metrics-token", "file:/nowhere/token"}, "configuration", "fail", 1},
		"port is taken":       {[]string{"--listen", l.Addr().String()}, "address", "fail", 1},
		"port is free":        {nil, "address", "ok", 0},
		"certificate":         {[]string{"--tls-cert-file", good, "--tls-key-file", goodKey}, "TLS and tokens", "ok", 0},
		"certificate ends":    {[]string{"--tls-cert-file", soon, "--tls-key-file", soonKey}, "TLS and tokens", "warn", 0},
		"certificate ended":   {[]string{"--tls-cert-file", old, "--tls-key-file", oldKey}, "TLS and tokens", "fail", 1},
		"another key":         {[]string{"--tls-cert-file", good, "--tls-key-file", soonKey}, "TLS and tokens", "fail", 1},
		"no authorities":      {[]string{"--tls-client-ca-file", write(t, "x")}, "TLS and tokens", "fail", 1},
		"tokens are broken":   {[]string{"--auth-tokens-file", write(t, "x")}, "TLS and tokens", "fail", 1},
		"audit log":           {[]string{"--audit-log", write(t, "{}")}, "audit log of source audit-log", "ok", 0},
		"audit log to come":   {[]string{"--audit-log", "/nowhere/audit.log"}, "audit log of source audit-log", "warn", 0},
		"policy loses all":    {[]string{"--audit-policy", write(t, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n")}, "audit policy", "warn", 0},
		"policy is wrong":     {[]string{"--audit-policy", write(t, "kind: Policy\n")}, "audit policy", "fail", 1},
		"NATS is not there":   {[]string{"--log-urls", "nats://" + closed(t)}, "external log", "fail", 1},
		"server is not known": {nil, "running server", "ok", 0},
		"server is not up":    {[]string{"--server", "https://" + closed(t)}, "running server", "warn", 0},
	} {
		t.Run(name, func(t *testing.T) {
			args := tc.args
			if !strings.HasPrefix(strings.Join(args, " "), "--data ") {
				args = append([]string{"--data", t.TempDir()}, args...)
			}
			got, code := states(t, now, args...)
			if got[tc.check] != tc.state || code != tc.code {
				t.Errorf("%s is %q, exit code %d; want %q, %d\n%v", tc.check, got[tc.check], code, tc.state, tc.code, got)
			}
		})
	}
}

// closed returns an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

func TestCheckClock(t *testing.T) {
	for at, want := range map[time.Time]string{now: "ok", time.Unix(0, 0): "fail"} {
		if got, _ := states(t, at, "--data", t.TempDir()); got["clock"] != want {
			t.Errorf("at %s: %v", at, got)
		}
	}
	dir := t.TempDir() // the server's certificate was made when the clock was right
	if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	made, _ := certificate(t, now.AddDate(2, 0, 0))
	if err := os.Rename(made, filepath.Join(dir, "tls", "server.crt")); err != nil {
		t.Fatal(err)
	}
	if got, code := states(t, now, "--data", dir); got["clock"] != "fail" || code != 1 {
		t.Errorf("%v, %d", got, code)
	}
}

// TestCheckChangesNothing holds that a check leaves no trace.
func TestCheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, code := states(t, now, "--data", filepath.Join(dir, "new")); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestCheckUsage(t *testing.T) {
	if _, code := states(t, now, "-o", "xml"); code != 2 {
		t.Errorf("exit code %d", code)
	}
}
