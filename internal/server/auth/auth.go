package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Errors of Authenticate. What they wrap is for the log, not for the caller.
var (
	ErrNoToken = errors.New("the request shows no token")
	ErrDenied  = errors.New("the token is not valid")
	ErrTooMany = errors.New("too many failed attempts from this address")
	ErrStore   = errors.New("the store of tokens cannot be asked")
	// ErrAsked is wrapped by errors about what a new token is to be.
	ErrAsked = errors.New("no such token can be made")
)

// Verifier takes bearer tokens that are not clew's own, such as those that a cloud
// signs its pushes with. The error means that the token is not valid.
type Verifier interface {
	Verify(ctx context.Context, token string) (Principal, error)
}

// Config is what an Authenticator works with.
type Config struct {
	KV  KV
	Now func() time.Time
	// ClientNames maps the common names of client certificates to the sources that
	// they may post to.
	ClientNames map[string]string
	// Foreign takes tokens of others; nil for none.
	Foreign Verifier
}

// Authenticator knows the principals. Its methods may be called from several
// goroutines.
type Authenticator struct {
	cfg      Config
	failed   failures
	verified verified
	sessions sessions
	hashing  chan struct{} // bounds memory: each hash takes 19 MiB

	mu     sync.RWMutex
	static map[string]Record
	local  *Record // see Local

	setup sync.Mutex // one redeems at a time
}

// maxHashing is how many hashes are made at once.
const maxHashing = 2

// New returns an Authenticator.
func New(cfg Config) *Authenticator {
	return &Authenticator{cfg: cfg, hashing: make(chan struct{}, maxHashing)}
}

// SetStatic replaces the tokens of the configuration. One that is no longer among
// them is refused from now on. They hide stored ones of the same id.
func (a *Authenticator) SetStatic(records []Record) {
	m := make(map[string]Record, len(records))
	for _, r := range records {
		m[r.ID] = r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.static = m
}

// Authenticate returns who sent a request: by the session of the console, the
// bearer token, the access key header that Firehose sends, or the client
// certificate. The error wraps one of the package's.
func (a *Authenticator) Authenticate(r *http.Request) (Principal, error) {
	token := bearer(r)
	if token == "" {
		if c, err := r.Cookie(CookieName); err == nil {
			return a.session(r.Context(), c.Value)
		}
		return a.certificate(r)
	}
	from := Address(r)
	if wait := a.failed.wait(from, a.cfg.Now()); wait > 0 && !a.verified.has(token, a.cfg.Now()) {
		return Principal{}, fmt.Errorf("%w: wait %s", ErrTooMany, wait.Round(time.Second))
	}
	p, err := a.token(r.Context(), token)
	if errors.Is(err, ErrDenied) {
		a.failed.add(from, a.cfg.Now())
	}
	return p, err
}

// RetryAfter is how long an address that got ErrTooMany has to wait at most.
const RetryAfter = failureWindow

func bearer(r *http.Request) string {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != "" {
			return strings.TrimSpace(token)
		}
		return "-" // another scheme is an attempt that fails
	}
	return r.Header.Get("X-Amz-Firehose-Access-Key")
}

// Address returns the address that a request came from. Headers of proxies are
// not believed: anyone can write them.
func Address(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func (a *Authenticator) certificate(r *http.Request) (Principal, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Principal{}, ErrNoToken
	}
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	source, ok := a.cfg.ClientNames[name]
	if !ok {
		return Principal{}, fmt.Errorf("%w: no source has the client name %q", ErrDenied, name)
	}
	return Principal{ID: "cert:" + name, Name: name, Role: Ingest, Source: source}, nil
}

// token checks a bearer token.
func (a *Authenticator) token(ctx context.Context, token string) (Principal, error) {
	id, secret, err := split(token)
	if err != nil {
		return a.foreign(ctx, token)
	}
	r, err := a.lookup(ctx, id)
	if err != nil {
		// No hash is made: ids are no secrets, and hashing for unknown ones would
		// give whoever asks the means to keep the server busy.
		return Principal{}, err
	}
	if !a.verify(ctx, token, secret, r.Hash) {
		return Principal{}, fmt.Errorf("%w: wrong secret for token %s", ErrDenied, id)
	}
	return r.principal(), nil
}

func (a *Authenticator) foreign(ctx context.Context, token string) (Principal, error) {
	if a.cfg.Foreign == nil || strings.HasPrefix(token, "clew_") {
		return Principal{}, fmt.Errorf("%w: it has not the form of one", ErrDenied)
	}
	p, err := a.cfg.Foreign.Verify(ctx, token)
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return p, nil
}

// lookup returns a record that is there and has not expired. Each request asks the
// store, so that a revoked token ends at once, with its sessions.
func (a *Authenticator) lookup(ctx context.Context, id string) (Record, error) {
	r, err := a.get(ctx, id)
	if err != nil {
		return Record{}, err
	}
	if !r.Expires.IsZero() && !a.cfg.Now().Before(r.Expires) {
		return Record{}, fmt.Errorf("%w: token %s has expired", ErrDenied, id)
	}
	return r, nil
}

const keyPrefix = "token."

func (a *Authenticator) get(ctx context.Context, id string) (Record, error) {
	if r, ok := a.inMemory(id); ok {
		return r, nil
	}
	text, err := a.cfg.KV.Get(ctx, keyPrefix+id)
	if errors.Is(err, ErrNotFound) {
		return Record{}, fmt.Errorf("%w: no token %s", ErrDenied, id)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%w: reading token %s: %w", ErrStore, id, err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r.ID != id || r.check() != nil {
		return Record{}, fmt.Errorf("%w: the record of token %s is broken", ErrStore, id)
	}
	return r, nil
}

// verify compares a token with a hash, and remembers the outcome when it is good.
func (a *Authenticator) verify(ctx context.Context, token, secret, hash string) bool {
	if a.verified.is(token, hash, a.cfg.Now()) {
		return true
	}
	select {
	case a.hashing <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-a.hashing }()
	if a.verified.is(token, hash, a.cfg.Now()) { // another request waited for the same
		return true
	}
	ok := matches(hash, secret)
	if ok {
		a.verified.put(token, hash, a.cfg.Now())
	}
	return ok
}

const (
	verifiedFor = 10 * time.Minute
	maxVerified = 1 << 10
)

// verified remembers, by their SHA-256, tokens that matched a hash, so that the
// costly hash is not made for each request.
type verified struct {
	mu sync.Mutex
	m  map[[32]byte]match
}

type match struct {
	hash  string
	until time.Time
}

func (v *verified) is(token, hash string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	m, ok := v.m[sha256.Sum256([]byte(token))]
	return ok && m.hash == hash && now.Before(m.until)
}

func (v *verified) has(token string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Before(v.m[sha256.Sum256([]byte(token))].until)
}

func (v *verified) put(token, hash string, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.m == nil || len(v.m) >= maxVerified {
		v.m = map[[32]byte]match{} // they are made again as they come
	}
	v.m[sha256.Sum256([]byte(token))] = match{hash: hash, until: now.Add(verifiedFor)}
}

// NewToken is what a token to be made is like.
type NewToken struct {
	Name   string
	Role   Role          // not Setup
	Source string        // of the role Ingest
	Lives  time.Duration // 0: until revoked
	By     string        // ID of who asked for it
}

// Create makes a token. It is returned this once and not stored. The error wraps
// ErrAsked when it is the caller's.
func (a *Authenticator) Create(ctx context.Context, n NewToken) (token string, r Record, err error) {
	if n.Role == Setup {
		return "", Record{}, fmt.Errorf("%w: set-up tokens are made by the server alone", ErrAsked)
	}
	return a.create(ctx, random(10), n)
}

func (a *Authenticator) create(ctx context.Context, id string, n NewToken) (string, Record, error) {
	secret := random(32)
	now := a.cfg.Now().UTC()
	r := Record{ID: id, Name: n.Name, Role: n.Role, Source: n.Source, CreatedBy: n.By, Created: now}
	if n.Lives > 0 {
		r.Expires = now.Add(n.Lives)
	}
	if err := r.check(); err != nil {
		return "", Record{}, fmt.Errorf("making a token: %w: %w", ErrAsked, err)
	}
	r.Hash = hash(secret)
	text, err := json.Marshal(r)
	if err == nil {
		err = a.cfg.KV.Put(ctx, keyPrefix+id, text)
	}
	if err != nil {
		return "", Record{}, fmt.Errorf("making a token: %w", err)
	}
	r.Hash = ""
	return "clew_" + id + "_" + secret, r, nil
}

// List returns the tokens without their hashes, those of the configuration
// included, by id.
func (a *Authenticator) List(ctx context.Context) ([]Record, error) {
	keys, err := a.cfg.KV.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	ids := map[string]bool{}
	for _, k := range keys {
		if id, ok := strings.CutPrefix(k, keyPrefix); ok {
			ids[id] = true
		}
	}
	a.mu.RLock()
	for id := range a.static {
		ids[id] = true
	}
	if a.local != nil {
		ids[localID] = true
	}
	a.mu.RUnlock()
	var out []Record
	for id := range ids {
		r, err := a.get(ctx, id)
		if errors.Is(err, ErrDenied) {
			continue // revoked meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("listing tokens: %w", err)
		}
		r.Hash = ""
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y Record) int { return strings.Compare(x.ID, y.ID) })
	return out, nil
}

var idPattern = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// Revoke ends a token and its sessions at once. The error wraps ErrNotFound when
// there is none; those of the configuration are revoked there.
func (a *Authenticator) Revoke(ctx context.Context, id string) error {
	if id == localID {
		return a.revokeLocal()
	}
	if !idPattern.MatchString(id) {
		return fmt.Errorf("revoking a token: %w", ErrNotFound)
	}
	if _, err := a.cfg.KV.Get(ctx, keyPrefix+id); err != nil {
		return fmt.Errorf("revoking token %s: %w", id, err)
	}
	if err := a.cfg.KV.Delete(ctx, keyPrefix+id); err != nil {
		return fmt.Errorf("revoking token %s: %w", id, err)
	}
	return nil
}
