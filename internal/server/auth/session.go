package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// CookieName is the cookie of the console's session. With this prefix browsers
	// take it over TLS only, from this host only, for all of its paths.
	CookieName  = "__Host-clew"
	sessionLife = 12 * time.Hour
	maxSessions = 1 << 12
)

// sessions are kept in memory: a restart ends them.
type sessions struct {
	mu sync.Mutex
	m  map[[32]byte]session // by the hash of the cookie
}

type session struct {
	tokenID string
	until   time.Time
}

// Login begins a session of the console for a person who showed a token, and
// returns its cookie. It ends with the token, after 12 hours, or with Logout.
func (a *Authenticator) Login(p Principal) (*http.Cookie, error) {
	if !slices.Contains(people[:], p.Role) {
		return nil, fmt.Errorf("%w: a token of role %s begins no session", ErrDenied, p.Role)
	}
	value := random(32)
	now := a.cfg.Now()
	a.sessions.add(value, session{tokenID: p.ID, until: now.Add(sessionLife)}, now)
	return cookie(value, int(sessionLife/time.Second)), nil
}

// Logout ends the session of a request and returns the cookie that clears it.
func (a *Authenticator) Logout(r *http.Request) *http.Cookie {
	if c, err := r.Cookie(CookieName); err == nil {
		a.sessions.drop(c.Value)
	}
	return cookie("", -1)
}

func cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: CookieName, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

func (a *Authenticator) session(ctx context.Context, value string) (Principal, error) {
	s, ok := a.sessions.get(value)
	if !ok || !a.cfg.Now().Before(s.until) {
		return Principal{}, fmt.Errorf("%w: no such session", ErrDenied)
	}
	r, err := a.lookup(ctx, s.tokenID)
	if err != nil {
		return Principal{}, err
	}
	return r.principal(), nil
}

func (s *sessions) get(value string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.m[sha256.Sum256([]byte(value))]
	return x, ok
}

func (s *sessions) drop(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, sha256.Sum256([]byte(value)))
}

// add makes room by forgetting what is over, then any one.
func (s *sessions) add(value string, x session, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[[32]byte]session{}
	}
	if len(s.m) >= maxSessions {
		for k, old := range s.m {
			if !now.Before(old.until) {
				delete(s.m, k)
			}
		}
		for k := range s.m {
			if len(s.m) < maxSessions {
				break
			}
			delete(s.m, k)
		}
	}
	s.m[sha256.Sum256([]byte(value))] = x
}
