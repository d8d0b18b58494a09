package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// UntrustedError says that a server's certificate is not the expected one.
type UntrustedError struct {
	Fingerprints []string // of what the server sent: its certificate, then its CA
	Want         string   // the fingerprint that was asked for, "" when none was
	Err          error    // nil when no certificate has the fingerprint
}

// Error names the fingerprints.
func (e *UntrustedError) Error() string {
	if e.Want != "" && e.Err == nil {
		return fmt.Sprintf("the server's certificate has fingerprint %s, not %s: it is another server, or its certificate was renewed", strings.Join(e.Fingerprints, " and its CA "), e.Want)
	}
	s := fmt.Sprintf("the server's certificate is not trusted (%v)", e.Err)
	if n := len(e.Fingerprints); n > 0 && e.Want == "" {
		s += fmt.Sprintf("; if its log shows %s, use --fingerprint with that, else do not go on", e.Fingerprints[n-1])
	}
	return s
}

// Unwrap returns why verification failed.
func (e *UntrustedError) Unwrap() error { return e.Err }

// Fingerprint returns SHA256: and the hex digest of a certificate's DER.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

func fingerprints(certs []*x509.Certificate) []string {
	var out []string
	for _, c := range certs {
		out = append(out, Fingerprint(c))
	}
	return out
}

// pin reads a fingerprint as people write it: SHA256:, hex digits in any case, with
// colons as openssl prints them or without.
func pin(s string) (string, error) {
	rest := s
	if i := strings.IndexAny(s, ":="); i >= 0 && strings.EqualFold(s[:i], "sha256") {
		rest = s[i+1:]
	}
	digest, err := hex.DecodeString(strings.ReplaceAll(rest, ":", ""))
	if err != nil || len(digest) != sha256.Size {
		return "", fmt.Errorf("fingerprint %q is not SHA256: and 64 hex digits", s)
	}
	return "SHA256:" + hex.EncodeToString(digest), nil
}

// trust returns how a server is verified: by a fingerprint, a CA file, or else the
// system's authorities. Both together must both hold.
func trust(p Profile) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if p.CAFile != "" {
		text, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("reading the CA: %q holds no certificate in PEM", p.CAFile)
		}
	}
	if p.Fingerprint == "" {
		return cfg, nil
	}
	want, err := pin(p.Fingerprint)
	if err != nil {
		return nil, err
	}
	if cfg.RootCAs == nil {
		// The fingerprint takes the place of the authorities, not of verification.
		cfg.InsecureSkipVerify = true
	}
	u, err := url.Parse(p.Server)
	if err != nil {
		return nil, fmt.Errorf("reading the server's address: %w", err)
	}
	cfg.VerifyConnection = func(s tls.ConnectionState) error { return verifyPin(want, u.Hostname(), s.PeerCertificates) }
	return cfg, nil
}

// verifyPin accepts a server whose own certificate has the fingerprint, or whose
// certificate is signed, for this name or address, by the one in its chain that has
// it. The name comes from the caller: a connection knows none for an address.
func verifyPin(want, name string, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the server sent no certificate")
	}
	for i, c := range certs {
		if Fingerprint(c) != want {
			continue
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(c)
		for _, other := range certs[1:] {
			between.AddCert(other)
		}
		if i == 0 {
			name = "" // this very certificate was asked for, whatever the server is called
		}
		if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err != nil {
			return &UntrustedError{Fingerprints: fingerprints(certs), Want: want, Err: err}
		}
		return nil
	}
	return &UntrustedError{Fingerprints: fingerprints(certs), Want: want}
}
