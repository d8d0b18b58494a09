package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	authorityYears = 10
	leafDays       = 90
	renewBefore    = 30 * 24 * time.Hour
	// backdate allows for clients whose clocks are behind.
	backdate = time.Hour
)

// CAFile is the path of the own authority's certificate, which clients are given.
func (k *Keeper) CAFile() string { return filepath.Join(k.cfg.Dir, "ca.crt") }

// pair is a certificate and its key, decoded and as PEM.
type pair struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM string
	keyPEM  string
}

// readOwn returns the own certificate. It makes what is missing and renews what
// ends soon or has other names.
func (k *Keeper) readOwn() (files, error) {
	if err := os.MkdirAll(k.cfg.Dir, 0o700); err != nil {
		return files{}, fmt.Errorf("creating the certificates' folder: %w", err)
	}
	ca, err := k.load("ca")
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = k.make("ca", k.newAuthority)
	}
	if err != nil {
		return files{}, err
	}
	if k.now().After(ca.cert.NotAfter) {
		return files{}, fmt.Errorf("the authority in %s ended on %s: remove ca.crt and ca.key to have a new one", k.cfg.Dir, ca.cert.NotAfter.Format(time.DateOnly))
	}
	leaf, err := k.load("server")
	if err != nil || k.stale(leaf.cert, ca.cert) {
		// A crash may have come between writing its two files: nobody loses anything
		// by a new one.
		leaf, err = k.make("server", func() (pair, error) { return k.newLeaf(ca) })
	}
	if err != nil {
		return files{}, err
	}
	return files{cert: leaf.certPEM + ca.certPEM, key: leaf.keyPEM}, nil
}

// stale reports whether the certificate ends soon (no later than its authority),
// is signed by another authority or lacks a name.
func (k *Keeper) stale(leaf, ca *x509.Certificate) bool {
	if leaf.CheckSignatureFrom(ca) != nil {
		return true
	}
	if k.now().Add(renewBefore).After(leaf.NotAfter) && leaf.NotAfter.Before(ca.NotAfter) {
		return true
	}
	return slices.ContainsFunc(k.names(), func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

// names returns the names of the certificate, sorted, each once.
func (k *Keeper) names() []string {
	out := append([]string{"localhost", "127.0.0.1", "::1"}, k.cfg.Names...)
	if host, err := os.Hostname(); err == nil && host != "" {
		out = append(out, strings.ToLower(host))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (k *Keeper) newAuthority() (pair, error) {
	now := k.now()
	return sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: "clew authority " + now.UTC().Format(time.DateOnly)},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, pair{})
}

func (k *Keeper) newLeaf(ca pair) (pair, error) {
	now := k.now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "clew server"},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(0, 0, leafDays),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	for _, n := range k.names() {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return sign(t, ca)
}

// sign makes a key and its certificate, signed by ca or, when that is empty, by
// itself.
func sign(t *x509.Certificate, ca pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, fmt.Errorf("making a serial number: %w", err)
	}
	if ca.cert == nil {
		ca = pair{cert: t, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return pair{}, fmt.Errorf("signing a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("writing a key: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return parsePair(certPEM, keyPEM)
}

func parsePair(certPEM, keyPEM []byte) (pair, error) {
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return pair{}, errors.New("it is not PEM")
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return pair{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return pair{}, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(cert.PublicKey) {
		return pair{}, errors.New("certificate and key do not belong together")
	}
	return pair{cert: cert, key: ec, certPEM: string(certPEM), keyPEM: string(keyPEM)}, nil
}

// load reads name.crt and name.key. The error is fs.ErrNotExist without a
// certificate, which is written after its key.
func (k *Keeper) load(name string) (pair, error) {
	path := filepath.Join(k.cfg.Dir, name)
	certPEM, err := os.ReadFile(path + ".crt")
	if err != nil {
		return pair{}, fmt.Errorf("reading a certificate: %w", err)
	}
	keyPEM, err := readPrivate(path + ".key")
	if err != nil {
		return pair{}, err
	}
	p, err := parsePair(certPEM, keyPEM)
	if err != nil {
		return pair{}, fmt.Errorf("reading %q: %w", path+".crt and .key", err)
	}
	return p, nil
}

// readPrivate reads a key that only its owner and group can read: a group may be
// what a container's volume is shared by.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %v", err) //nolint:errorlint // a certificate without its key is no first start
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("everyone may read the key %q: take that away (chmod 600), or remove the key and its certificate to have new ones", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	return text, nil
}

func (k *Keeper) make(name string, fresh func() (pair, error)) (pair, error) {
	p, err := fresh()
	if err != nil {
		return pair{}, err
	}
	path := filepath.Join(k.cfg.Dir, name)
	if err := writePrivate(path+".key", p.keyPEM); err != nil {
		return pair{}, err
	}
	if err := writePrivate(path+".crt", p.certPEM); err != nil {
		return pair{}, err
	}
	k.log.Info("certificate made", "file", path+".crt", "notAfter", p.cert.NotAfter)
	return p, nil
}

// writePrivate replaces a file as a whole, readable by its owner alone.
func writePrivate(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that matters is the first
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}
