package auth

import (
	"context"
	"time"
)

// Entry says that somebody did something, or tried.
type Entry struct {
	At        time.Time
	Principal Principal // zero when nobody was recognised
	Action    string    // the route: POST /v1/setup, /clew.v1.TraceService/Triage
	Target    string    // what it was done to, as the handler said with Note
	From      string    // address of the caller
	RequestID string
	Outcome   string // the HTTP status
}

// Trail keeps entries for good. It may be called from several goroutines.
type Trail interface {
	Append(ctx context.Context, e Entry) error
}

type noteKey struct{}

// note is what a handler says about its call.
type note struct {
	set    bool
	target string
}

// WithNote returns a context in which Note can say something, and a function that
// returns it after the handler is done.
func WithNote(ctx context.Context) (context.Context, func() (target string, set bool)) {
	n := &note{}
	return context.WithValue(ctx, noteKey{}, n), func() (string, bool) { return n.target, n.set }
}

// maxTargetBytes bounds what one call adds to the trail.
const maxTargetBytes = 500

// Note puts the call on the trail, which it would otherwise be only when its route
// asks for more than a viewer, and says what it was done to: an id, never content.
// It is called from the goroutine of the request.
func Note(ctx context.Context, target string) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.set, n.target = true, target[:min(len(target), maxTargetBytes)]
	}
}
