package auth

import (
	"context"
	"fmt"
	"time"
)

const (
	setupID    = "setup"
	setupLives = 24 * time.Hour
)

// Begin returns a set-up token when there is no administrator, "" when there is.
// It can be used once, within 24 hours, and takes the place of an earlier one, which
// nobody can read any more.
func (a *Authenticator) Begin(ctx context.Context) (string, error) {
	a.setup.Lock()
	defer a.setup.Unlock()
	admin, err := a.hasAdmin(ctx)
	if err != nil {
		return "", err
	}
	if admin { // made since by the configuration: an unused set-up token must not stay
		if err := a.cfg.KV.Delete(ctx, keyPrefix+setupID); err != nil {
			return "", fmt.Errorf("removing the set-up token: %w", err)
		}
		return "", nil
	}
	token, _, err := a.create(ctx, setupID, NewToken{Name: "set-up", Role: Setup, Lives: setupLives})
	return token, err
}

// hasAdmin reports whether there is an administrator beside the local one, who is
// always there.
func (a *Authenticator) hasAdmin(ctx context.Context) (bool, error) {
	records, err := a.List(ctx)
	for _, r := range records {
		if r.ID != localID && r.Role == Admin && (r.Expires.IsZero() || a.cfg.Now().Before(r.Expires)) {
			return true, nil
		}
	}
	return false, err
}

// Redeem makes the first administrator's token for whom the set-up token was shown
// by. The set-up token is gone before the other exists: of two at once one wins.
func (a *Authenticator) Redeem(ctx context.Context, name string) (string, Record, error) {
	a.setup.Lock()
	defer a.setup.Unlock()
	n := NewToken{Name: name, Role: Admin, By: setupID}
	if err := (&Record{Name: name, Role: Admin}).check(); err != nil {
		return "", Record{}, fmt.Errorf("making the first administrator: %w", err)
	}
	if _, err := a.lookup(ctx, setupID); err != nil {
		return "", Record{}, fmt.Errorf("using the set-up token: %w", err)
	}
	if err := a.Revoke(ctx, setupID); err != nil {
		return "", Record{}, fmt.Errorf("using the set-up token: %w", err)
	}
	return a.Create(ctx, n)
}
