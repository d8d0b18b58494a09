package daemon

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/source"
)

// closed is a store that takes nothing, as one on a full disk.
type closed struct{ auth.KV }

func (closed) Put(context.Context, string, []byte) error {
	return fmt.Errorf("%w: the disk is full", source.ErrUnavailable)
}

func TestWhoseFaultATokenIs(t *testing.T) {
	desk := tokenDesk{auth: auth.New(auth.Config{KV: closed{}, Now: time.Now})}
	_, _, err := desk.Create(t.Context(), "x", clewv1.Role_ROLE_VIEWER, "", time.Time{})
	if !errors.Is(err, source.ErrUnavailable) || errors.Is(err, api.ErrQuery) {
		t.Errorf("the store takes nothing: %v", err)
	}
	_, _, err = desk.Create(t.Context(), "x", clewv1.Role_ROLE_INGEST, "", time.Time{})
	if !errors.Is(err, api.ErrQuery) {
		t.Errorf("a sender without a source: %v", err)
	}
}
