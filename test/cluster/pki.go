package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of a cluster.
type authority struct {
	pair
	cert *x509.Certificate
	priv *ecdsa.PrivateKey
}

// pair is a certificate with its key, PEM.
type pair struct{ crt, key []byte }

func newAuthority(name string) (*authority, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage |= x509.KeyUsageCertSign
	a := &authority{cert: t, priv: priv}
	if a.pair, err = a.sign(t, priv); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(a.crt)
	a.cert, err = x509.ParseCertificate(block.Bytes)
	return a, err
}

func template(name string, groups ...string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
}

// client issues the certificate of a user in groups.
func (a *authority) client(user string, groups ...string) (pair, error) {
	t := template(user, groups...)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(t)
}

// server issues the certificate of what listens on the names and addresses.
func (a *authority) server(name string, hosts ...string) (pair, error) {
	t := template(name)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.issue(t)
}

func (a *authority) issue(t *x509.Certificate) (pair, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	return a.sign(t, priv)
}

func (a *authority) sign(t *x509.Certificate, priv *ecdsa.PrivateKey) (pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &priv.PublicKey, a.priv)
	if err != nil {
		return pair{}, fmt.Errorf("signing the certificate of %q: %w", t.Subject.CommonName, err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(priv)
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}, err
}

// write leaves name.crt and name.key in dir.
func (p pair) write(dir, name string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), p.crt, 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), p.key, 0o600))
}

// writeSigningKey leaves the key that signs service account tokens in dir.
func writeSigningKey(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}.write(dir, "sa")
}

// fingerprint is the SHA-256 of the certificate, hex.
func (p pair) fingerprint() string {
	block, _ := pem.Decode(p.crt)
	return fmt.Sprintf("%x", sha256.Sum256(block.Bytes))
}
