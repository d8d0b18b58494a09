// Package cert keeps the server's certificate: one of its own, signed by an
// authority of its own that it makes on first start, or a given one that it reads
// again when it changes. It also keeps the authorities of client certificates.
package cert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Config says which certificate to keep.
type Config struct {
	// Dir is the folder of the own authority and certificate; it is created.
	Dir string
	// Names are host names and addresses that the own certificate has beside
	// localhost, the loopback addresses and the machine's name.
	Names []string
	// CertFile and KeyFile are a given certificate with its chain, and its key, PEM.
	// Nothing is written when they are set.
	CertFile, KeyFile string
	// ClientCAFile holds the authorities of client certificates, PEM. Without it no
	// client is asked for one.
	ClientCAFile string
}

// checkEvery is how long a handshake goes by what an earlier one found on disk.
const checkEvery = 10 * time.Second

// Keeper hands out the certificate. Its methods may be called from several
// goroutines. It has no goroutine of its own: handshakes renew and reload.
type Keeper struct {
	cfg Config
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex
	checked time.Time
	files   files
	current *tls.Config
	err     error // of the last reload
}

// Open reads the certificate, or makes authority and certificate where there are
// none. The error says which file is wrong.
func Open(cfg Config, now func() time.Time, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{cfg: cfg, now: now, log: log, checked: now()}
	if err := k.reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// TLS returns the configuration of a listener. Later changes reach it by
// themselves.
func (k *Keeper) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetConfigForClient: k.forClient}
}

// protocols are offered in this order.
var protocols = []string{"h2", "http/1.1"}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption.
// TLS 1.3 has no others. 1.2 is there for senders we do not choose: cloud
// services that push, and proxies before an API server.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Err returns what is wrong with the files on disk since the last good reload; the
// certificate before that is still in use.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Fingerprint returns "sha256:" and the hash of what a client should pin, in hex:
// the own authority, or the given certificate.
func (k *Keeper) Fingerprint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	chain := k.current.Certificates[0].Certificate
	der := chain[0]
	if k.cfg.CertFile == "" {
		der = chain[len(chain)-1]
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// NotAfter returns when the certificate ends.
func (k *Keeper) NotAfter() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current.Certificates[0].Leaf.NotAfter
}

func (k *Keeper) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.checked) >= checkEvery {
		k.checked = now
		k.refreshLocked()
	}
	return k.current, nil
}

// refreshLocked keeps the old certificate when the new one is broken: files are
// often written one after the other.
func (k *Keeper) refreshLocked() {
	err := k.reload()
	if err != nil && (k.err == nil || k.err.Error() != err.Error()) {
		k.log.Error("the certificate cannot be read again; the one before stays", "error", err)
	}
	k.err = err
}

// files is what is on disk.
type files struct{ cert, key, clientCA string }

// reload reads the files, renews the own certificate when it is time, and takes
// what changed.
func (k *Keeper) reload() error {
	read := k.readGiven
	if k.cfg.CertFile == "" {
		read = k.readOwn
	}
	f, err := read()
	if err != nil {
		return err
	}
	if k.cfg.ClientCAFile != "" {
		text, err := os.ReadFile(k.cfg.ClientCAFile)
		if err != nil {
			return fmt.Errorf("reading the authorities of clients: %w", err)
		}
		f.clientCA = string(text)
	}
	if f == k.files {
		return nil
	}
	c, err := k.build(f)
	if err != nil {
		return err
	}
	if k.current != nil {
		k.log.Info("certificate replaced", "notAfter", c.Certificates[0].Leaf.NotAfter)
	}
	k.files, k.current = f, c
	return nil
}

func (k *Keeper) readGiven() (files, error) {
	crt, err := os.ReadFile(k.cfg.CertFile)
	if err != nil {
		return files{}, fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(k.cfg.KeyFile)
	if err != nil {
		return files{}, fmt.Errorf("reading the certificate's key: %w", err)
	}
	return files{cert: string(crt), key: string(key)}, nil
}

func (k *Keeper) build(f files) (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(f.cert), []byte(f.key))
	if err != nil {
		return nil, fmt.Errorf("using certificate and key: %w", err)
	}
	if k.now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate ended on %s", pair.Leaf.NotAfter.Format(time.DateTime))
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: suites, NextProtos: protocols, Certificates: []tls.Certificate{pair}}
	if f.clientCA != "" {
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !c.ClientCAs.AppendCertsFromPEM([]byte(f.clientCA)) {
			return nil, errors.New("the file of the authorities of clients holds no certificate")
		}
	}
	return c, nil
}
