package cert_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server/cert"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t *testing.T, cfg cert.Config, c *clock) *cert.Keeper {
	t.Helper()
	k, err := cert.Open(cfg, c.now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// handshake connects a client to the keeper's configuration and returns what
// the client saw.
func handshake(t *testing.T, k *cert.Keeper, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		done <- tls.Server(conn, k.TLS()).Handshake()
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		<-done
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), <-done
}

func trust(t *testing.T, file string, c *clock) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool, Time: c.now, ServerName: "localhost"}
}

func TestOwnAuthority(t *testing.T) {
	c, dir := newClock(), filepath.Join(t.TempDir(), "tls")
	k := open(t, cert.Config{Dir: dir, Names: []string{"clew.example.org", "192.0.2.7"}}, c)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "clew.example.org", "192.0.2.7"} {
		cfg := trust(t, k.CAFile(), c)
		cfg.ServerName = name
		state, err := handshake(t, k, cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ca := state.PeerCertificates[len(state.PeerCertificates)-1]
		sum := sha256.Sum256(ca.Raw)
		if got := k.Fingerprint(); got != "sha256:"+hex.EncodeToString(sum[:]) || !ca.IsCA {
			t.Errorf("fingerprint %s is not that of the authority that the server shows", got)
		}
		if years := ca.NotAfter.Sub(c.now()).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
			t.Errorf("the authority lives %.1f years", years)
		}
	}
	again := open(t, cert.Config{Dir: dir}, c)
	if again.Fingerprint() != k.Fingerprint() {
		t.Error("a restart made another authority")
	}
}

// TestKeyFilesArePrivate is a claim of the threat model.
func TestKeyFilesArePrivate(t *testing.T) {
	c, dir := newClock(), filepath.Join(t.TempDir(), "tls")
	open(t, cert.Config{Dir: dir}, c)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, _ := e.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", info.Mode())
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Open(cert.Config{Dir: dir}, c.now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("a key that everyone can read: %v", err)
	}
}

func TestRenewsBeforeItEnds(t *testing.T) {
	c := newClock()
	k := open(t, cert.Config{Dir: t.TempDir()}, c)
	first := k.NotAfter()
	c.add(59 * 24 * time.Hour)
	if _, err := handshake(t, k, trust(t, k.CAFile(), c)); err != nil || !k.NotAfter().Equal(first) {
		t.Errorf("renewed too early: %v, %v", k.NotAfter(), err)
	}
	c.add(2 * 24 * time.Hour)
	state, err := handshake(t, k, trust(t, k.CAFile(), c))
	if err != nil || !state.PeerCertificates[0].NotAfter.After(first) {
		t.Errorf("not renewed 29 days before its end: %v", err)
	}
	// Up to the authority's end there is always a certificate that holds.
	for range 58 {
		c.add(61 * 24 * time.Hour)
		if _, err := handshake(t, k, trust(t, k.CAFile(), c)); err != nil {
			t.Fatalf("at %s: %v", c.now(), err)
		}
	}
	c.add(365 * 24 * time.Hour)
	if _, err := handshake(t, k, trust(t, k.CAFile(), c)); err == nil || k.Err() == nil {
		t.Errorf("after the authority's end: %v, %v", err, k.Err())
	}
}

func TestNewNamesMakeANewCertificate(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	k := open(t, cert.Config{Dir: dir}, c)
	before := k.Fingerprint()
	k = open(t, cert.Config{Dir: dir, Names: []string{"new.example.org"}}, c)
	cfg := trust(t, k.CAFile(), c)
	cfg.ServerName = "new.example.org"
	if _, err := handshake(t, k, cfg); err != nil || k.Fingerprint() != before {
		t.Errorf("%v; same authority: %v", err, k.Fingerprint() == before)
	}
}

func TestGivenFilesReload(t *testing.T) {
	c := newClock()
	a, b := t.TempDir(), t.TempDir()
	ka, kb := open(t, cert.Config{Dir: a}, c), open(t, cert.Config{Dir: b}, c)
	dir := t.TempDir()
	given := cert.Config{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	put(t, a, dir, "crt", "key")
	k := open(t, given, c)
	check := func(what string, as *cert.Keeper, want bool) {
		t.Helper()
		c.add(time.Minute)
		if _, err := handshake(t, k, trust(t, as.CAFile(), c)); (err == nil) != want {
			t.Errorf("%s: %v, want success %v", what, err, want)
		}
	}
	check("first", ka, true)
	put(t, b, dir, "crt")
	check("half replaced, the old one stays", ka, true)
	if k.Err() == nil {
		t.Error("half replaced, and no error told")
	}
	put(t, b, dir, "key")
	check("replaced", kb, true)
	check("the old one is gone", ka, false)
	if k.Err() != nil {
		t.Error(k.Err())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("something was written beside given files: %v", entries)
	}
}

func put(t *testing.T, from, to string, exts ...string) {
	t.Helper()
	for _, ext := range exts {
		text, err := os.ReadFile(filepath.Join(from, "server."+ext))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "tls."+ext), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldTLSIsRefused is a claim of the threat model.
func TestOldTLSIsRefused(t *testing.T) {
	c := newClock()
	k := open(t, cert.Config{Dir: t.TempDir()}, c)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		cfg := trust(t, k.CAFile(), c)
		cfg.MinVersion, cfg.MaxVersion = version, version
		if _, err := handshake(t, k, cfg); (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	cfg := trust(t, k.CAFile(), c)
	cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	if _, err := handshake(t, k, cfg); err == nil {
		t.Error("a suite without authenticated encryption was taken")
	}
}

// TestForeignClientCertificateIsRefused is a claim of the threat model.
func TestForeignClientCertificateIsRefused(t *testing.T) {
	c := newClock()
	mine, other := t.TempDir(), t.TempDir()
	open(t, cert.Config{Dir: other}, c)
	km := open(t, cert.Config{Dir: mine}, c)
	k := open(t, cert.Config{Dir: t.TempDir(), ClientCAFile: km.CAFile()}, c)
	plain := trust(t, k.CAFile(), c)
	if _, err := handshake(t, k, plain); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	for dir, want := range map[string]bool{mine: true, other: false} {
		cfg := plain.Clone()
		cfg.Certificates = []tls.Certificate{clientCert(t, dir)}
		cfg.MaxVersion = tls.VersionTLS12 // a 1.3 client learns of the refusal after its handshake
		if _, err := handshake(t, k, cfg); (err == nil) != want {
			t.Errorf("client of the right authority %v: %v", want, err)
		}
	}
}

// clientCert signs a client certificate with the authority in dir.
func clientCert(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key := ca.PrivateKey.(*ecdsa.PrivateKey)
	tmpl := &x509.Certificate{SerialNumber: ca.Leaf.SerialNumber, NotBefore: ca.Leaf.NotBefore, NotAfter: ca.Leaf.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(nil, tmpl, ca.Leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pemCert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := tls.X509KeyPair(pemCert, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBrokenFiles(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	before := open(t, cert.Config{Dir: dir}, c).Fingerprint()
	for name, heals := range map[string]bool{"server.crt": true, "server.key": true, "ca.key": false, "ca.crt": false} {
		path := filepath.Join(dir, name)
		good, _ := os.ReadFile(path)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := cert.Open(cert.Config{Dir: dir}, c.now, slog.New(slog.DiscardHandler))
		switch {
		case heals && (err != nil || k.Fingerprint() != before):
			t.Errorf("%s broken: %v", name, err)
		case !heals && (err == nil || !strings.Contains(err.Error(), "ca.")):
			t.Errorf("%s broken: %v, want it named", name, err)
		}
		if !heals {
			os.WriteFile(path, good, 0o600)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Open(cert.Config{Dir: dir}, c.now, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the authority's key is gone, and clients would meet another authority")
	}
	if _, err := cert.Open(cert.Config{CertFile: "/none", KeyFile: "/none"}, c.now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("missing: %v", err)
	}
}
