package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"path"

	"connectrpc.com/connect"

	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
	"github.com/clew-sec/clew/internal/rule"
)

// explain is an interceptor that bounds calls in time and says in words what a failed
// one means and what to do. The connect error stays in the chain.
type explain struct {
	server string
}

// WrapUnary implements connect.Interceptor.
func (x explain) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		resp, err := next(ctx, req)
		return resp, x.err(req.Spec().Procedure, err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (x explain) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return stream{next(ctx, spec), x}
	}
}

// WrapStreamingHandler implements connect.Interceptor; a client has no handlers.
func (x explain) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// stream explains the errors of a streaming call.
type stream struct {
	connect.StreamingClientConn
	x explain
}

// Receive implements connect.StreamingClientConn.
func (s stream) Receive(msg any) error {
	err := s.StreamingClientConn.Receive(msg)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.x.err(s.Spec().Procedure, err)
}

func (x explain) err(procedure string, err error) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf("asking %s (%s)", x.server, path.Base(procedure))
	if u, ok := errors.AsType[*UntrustedError](err); ok {
		return fmt.Errorf("%s: %w", doing, u)
	}
	if c, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%s: %w", doing, &UntrustedError{Fingerprints: fingerprints(c.UnverifiedCertificates), Err: c.Err})
	}
	text := rule.AppendClean(nil, err.Error(), maxMessage)
	return &callError{doing + ": " + string(text) + advice(procedure, err), err}
}

// maxMessage bounds what is shown of a server's error in bytes.
const maxMessage = 2048

// callError is a failed call. The server chose the words of the error in it, so they
// are made safe for a terminal.
type callError struct {
	text string
	err  error
}

// Error says what failed and what to do.
func (e *callError) Error() string { return e.text }

// Unwrap returns the error of the call.
func (e *callError) Unwrap() error { return e.err }

// advice says what to do, "" when the error says it.
func advice(procedure string, err error) string {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated:
		return "; the token is missing, unknown, revoked or has expired: clew login"
	case connect.CodePermissionDenied:
		return "; it needs a token of role " + role(procedure)
	case connect.CodeUnavailable:
		if !connect.IsWireError(err) {
			return "; is the server running, and is --server right?"
		}
	case connect.CodeUnimplemented:
		return "; the server is of another version, or something else listens there"
	}
	return ""
}

// role returns the role a call needs, as the API describes it.
func role(procedure string) string {
	switch procedure {
	case clewv1connect.TraceServiceTriageProcedure, clewv1connect.TraceServiceCreateSuppressionProcedure,
		clewv1connect.TraceServiceDeleteSuppressionProcedure, clewv1connect.TraceServiceExportTraceProcedure:
		return "analyst"
	case clewv1connect.SystemServiceListTokensProcedure, clewv1connect.SystemServiceCreateTokenProcedure,
		clewv1connect.SystemServiceRevokeTokenProcedure, clewv1connect.SystemServiceListActionsProcedure:
		return "admin"
	}
	return "viewer"
}
