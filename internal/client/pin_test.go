package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/client"
)

// issue makes a certificate for an address, signed by parent, or by itself when that
// is nil.
func issue(t *testing.T, ca bool, ip string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, ends time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "clew " + ip}, NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends,
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if !ca {
		c.IPAddresses = []net.IP{net.ParseIP(ip)}
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, key
}

// TestPinnedCA holds that the fingerprint of a CA admits what that CA signed for the
// server's address, and not a server that only shows the CA.
func TestPinnedCA(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	ca, caKey := issue(t, true, "", nil, nil, soon)
	signed, signedKey := issue(t, false, "127.0.0.1", ca, caKey, soon)
	stranger, strangerKey := issue(t, false, "127.0.0.1", nil, nil, soon)
	elsewhere, elsewhereKey := issue(t, false, "192.0.2.1", ca, caKey, soon)
	old, oldKey := issue(t, false, "127.0.0.1", ca, caKey, time.Now().Add(-time.Minute))
	tests := []struct {
		name string
		leaf *x509.Certificate
		key  *ecdsa.PrivateKey
		pin  *x509.Certificate
		want string
	}{
		{"signed", signed, signedKey, ca, ""},
		{"leaf itself", signed, signedKey, signed, ""},
		{"leaf itself, whatever its name", elsewhere, elsewhereKey, elsewhere, ""},
		{"shows the CA only", stranger, strangerKey, ca, "not trusted"},
		{"other address", elsewhere, elsewhereKey, ca, "not trusted"},
		{"expired", old, oldKey, ca, "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &system{}
			mux := http.NewServeMux()
			mux.Handle(clewv1connect.NewSystemServiceHandler(s))
			ts := httptest.NewUnstartedServer(mux)
			ts.Config.ErrorLog = log.New(io.Discard, "", 0)
			ts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{tt.leaf.Raw, ca.Raw}, PrivateKey: tt.key}}}
			ts.StartTLS()
			defer ts.Close()
			err := status(t, client.Profile{Server: ts.URL, Fingerprint: client.Fingerprint(tt.pin)})
			switch {
			case tt.want == "" && (err != nil || s.calls != 1):
				t.Errorf("error %v, %d calls", err, s.calls)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || s.calls != 0):
				t.Errorf("error %v, %d calls, want %q and none", err, s.calls, tt.want)
			}
		})
	}
}
