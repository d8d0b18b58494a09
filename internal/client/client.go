// Package client talks to a clew server: it finds out which one and with what token,
// verifies the server's certificate, and says in words what went wrong.
package client

import (
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/clew-sec/clew/api/clew/v1/clewv1connect"
)

// Client is the API of one server. It may be used by several goroutines.
type Client struct {
	Traces clewv1connect.TraceServiceClient
	Events clewv1connect.EventServiceClient
	System clewv1connect.SystemServiceClient

	server    string
	doer      *http.Client
	transport *http.Transport
}

// maxAnswer bounds one message of a server in bytes: a server that is not ours must
// not fill the memory.
const maxAnswer = 64 << 20

// connectTime bounds how long a server may take to accept a connection, and again to
// agree on TLS.
const connectTime = 10 * time.Second

// callTime bounds a call that is no stream; the longest is a search.
const callTime = 2 * time.Minute

// New returns a client of the server that p names. It does not connect yet.
func New(p Profile) (*Client, error) {
	cfg, err := trust(p)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTime}).DialContext,
		TLSClientConfig:     cfg,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: connectTime,
		IdleConnTimeout:     30 * time.Second,
		// A stream may be silent for hours: pings tell it from a server that is gone.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	doer := &http.Client{
		Transport:     bearer{t, p.Token},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	opts := connect.WithClientOptions(connect.WithInterceptors(explain{p.Server}), connect.WithReadMaxBytes(maxAnswer))
	return &Client{
		Traces:    clewv1connect.NewTraceServiceClient(doer, p.Server, opts),
		Events:    clewv1connect.NewEventServiceClient(doer, p.Server, opts),
		System:    clewv1connect.NewSystemServiceClient(doer, p.Server, opts),
		server:    p.Server,
		doer:      doer,
		transport: t,
	}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// bearer sends the token with each request.
type bearer struct {
	next  http.RoundTripper
	token string
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
