package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/server/auth"
)

// checkFolders looks at the folders that the server writes to.
func (c *checker) checkFolders() {
	for _, f := range []struct{ check, dir string }{
		{"data folder", c.cfg.DataDir}, {"log folder", c.cfg.Log.Dir}, {"history folder", c.cfg.History.Dir},
	} {
		if f.dir != "" {
			c.checkFolder(f.check, f.dir)
		}
	}
}

// checkFolder says whether dir can be written to and has room. A folder that is not
// there yet is judged by the one that it would be made in.
func (c *checker) checkFolder(check, dir string) {
	at, err := existing(dir)
	if err == nil {
		err = writable(at)
	}
	if err != nil {
		c.fail(check, "make the folder and give it to the user that clew runs as, or name another", err)
		return
	}
	free, err := bus.FreeBytes(at)
	if err != nil {
		c.warn(check, "look at the disk", "%v", err)
		return
	}
	least, most := int64(c.cfg.Log.MinFree), int64(c.cfg.Log.MaxBytes)
	switch {
	case free < least:
		c.fail(check, "free some space, or lower log.minFree: nothing is accepted below it", fmt.Errorf("%s: %s free, log.minFree is %s", dir, size(free), size(least)))
	case free-least < most:
		c.warn(check, "make room, or lower log.maxBytes and history.maxBytes", "%s: %s free, the log alone may grow to %s", dir, size(free), size(most))
	default:
		c.ok(check, "%s: writable, %s free", dir, size(free))
	}
}

// existing returns dir, or the nearest folder above it that is there.
func existing(dir string) (string, error) {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%q is no folder", at)
		case err == nil:
			return at, nil
		case !errors.Is(err, os.ErrNotExist) || at == filepath.Dir(at):
			return "", err
		}
	}
}

// writable makes a file in dir and takes it away again.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".clew-check-*")
	if err != nil {
		return fmt.Errorf("writing to %q: %w", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkPort tries the address. One that the running server holds is no fault.
func (c *checker) checkPort() {
	const check = "address"
	l, err := net.Listen("tcp", c.cfg.Listen)
	switch {
	case err == nil:
		_ = l.Close()
		c.ok(check, "%s is free", c.cfg.Listen)
	case c.running:
		c.warn(check, "right, if the running server is the one that holds it", "%v", err)
	default:
		c.fail(check, "stop what listens there, or choose another address with --listen", err)
	}
}

// renewal is how long before its end a given certificate should be replaced.
const renewal = 30 * 24 * time.Hour

// checkTLS reads the files of TLS and of tokens that the configuration names.
func (c *checker) checkTLS() {
	const check = "TLS and tokens"
	t := &c.cfg.TLS
	if t.ClientCAFile != "" {
		if err := pemFile(t.ClientCAFile); err != nil {
			c.fail(check, "tls.clientCAFile is PEM with the authorities of client certificates", err)
			return
		}
	}
	if f := c.cfg.Auth.TokensFile; f != "" {
		if _, err := auth.ReadFile(f); err != nil {
			c.fail(check, "correct auth.tokensFile", err)
			return
		}
	}
	if t.CertFile == "" {
		c.ok(check, "the server's own authority, in %s", filepath.Join(c.cfg.DataDir, "tls"))
		return
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		c.fail(check, "tls.certFile and tls.keyFile are PEM and belong together", err)
		return
	}
	switch now := c.deps.Remote.Now(); {
	case now.Before(pair.Leaf.NotBefore) || now.After(pair.Leaf.NotAfter):
		c.fail(check, "renew it", fmt.Errorf("%s is valid from %s to %s", t.CertFile, instant(pair.Leaf.NotBefore), instant(pair.Leaf.NotAfter)))
	case now.Add(renewal).After(pair.Leaf.NotAfter):
		c.warn(check, "renew it soon; the file is read again when it changes", "%s ends %s", t.CertFile, instant(pair.Leaf.NotAfter))
	default:
		c.ok(check, "%s is good until %s", t.CertFile, instant(pair.Leaf.NotAfter))
	}
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func pemFile(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("no certificate in %q", name)
	}
	return nil
}

// checkAuditLogs opens the files that sources follow.
func (c *checker) checkAuditLogs() {
	for _, s := range c.cfg.Sources {
		for _, pattern := range s.Paths {
			c.checkAuditLog("audit log of source "+s.Name, pattern)
		}
	}
}

func (c *checker) checkAuditLog(check, pattern string) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		c.fail(check, "correct the pattern", fmt.Errorf("%q: %w", pattern, err))
		return
	}
	if len(paths) == 0 {
		c.warn(check, "the file is waited for; look at --audit-log-path of the API server and at the permissions of the folder", "%s matches no file", pattern)
		return
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			c.fail(check, "let the user that clew runs as read it", err)
			return
		}
		_ = f.Close() // it was only opened
	}
	c.ok(check, "%d readable files match %s", len(paths), pattern)
}

// earliest is a time before which no clew of this version ran.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// checkClock compares the clock with what cannot be later than now.
func (c *checker) checkClock() {
	const check, advice = "clock", "synchronise it (NTP): order of events, lag and certificates depend on it"
	now, last := c.deps.Remote.Now(), earliest
	if c.cfg != nil {
		if made, ok := certificateMade(filepath.Join(c.cfg.DataDir, "tls", "server.crt")); ok && made.After(last) {
			last = made
		}
	}
	if now.Before(last) {
		c.fail(check, advice, fmt.Errorf("it says %s, and it is later than %s", instant(now), instant(last)))
		return
	}
	c.ok(check, "%s", instant(now))
}

func certificateMade(name string) (time.Time, bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return time.Time{}, false
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, false
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return leaf.NotBefore, true
}

// checkLog connects to an external NATS cluster.
func (c *checker) checkLog(ctx context.Context) {
	const check = "external log"
	l := &c.cfg.Log
	if len(l.URLs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	log, err := bus.Open(ctx, bus.Config{
		URLs: l.URLs, CredsFile: l.CredsFile, Replicas: l.Replicas, TLS: bus.TLS{CAFile: l.CAFile, CertFile: l.CertFile, KeyFile: l.KeyFile},
	}, slog.New(slog.DiscardHandler))
	if err == nil {
		err = errors.Join(log.Writable(ctx), log.Close(ctx))
	}
	if err != nil {
		c.fail(check, "look at log.urls, the credentials, and whether JetStream is on for the account", err)
		return
	}
	c.ok(check, "JetStream answers at %d addresses", len(l.URLs))
}

// checkPolicy judges an audit policy as `clew audit-policy lint` does.
func (c *checker) checkPolicy() {
	if c.policy == "" {
		return
	}
	const check = "audit policy"
	rep, err := c.lintPolicy()
	if err != nil {
		c.fail(check, "clew audit-policy generate prints a policy that works", err)
		return
	}
	var lost []string
	for _, t := range rep.Techniques {
		if t.State == auditpolicy.Lost {
			lost = append(lost, t.ID)
		}
	}
	if len(lost) > 0 {
		c.warn(check, "clew audit-policy lint says why", "%s loses %d of %d techniques: %s", c.policy, len(lost), len(rep.Techniques), strings.Join(lost, ", "))
		return
	}
	c.ok(check, "%s loses none of %d techniques", c.policy, len(rep.Techniques))
}

func (c *checker) lintPolicy() (auditpolicy.Report, error) {
	policy, err := readPolicy(c.policy, strings.NewReader(""))
	if err != nil {
		return auditpolicy.Report{}, err
	}
	pack, err := c.packs.load(c.deps.Content)
	if err != nil {
		return auditpolicy.Report{}, err
	}
	engine, err := c.deps.Engine(pack)
	if err != nil {
		return auditpolicy.Report{}, fmt.Errorf("building the engine: %w", err)
	}
	rep, err := policy.Check(engine, c.deps.Matrix(), pack.Rules)
	if err != nil {
		return auditpolicy.Report{}, fmt.Errorf("running the tests of the rules: %w", err)
	}
	return rep, nil
}
