package cluster

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Sink takes audit events as clew does and keeps them as lines of JSON.
type Sink struct {
	server *http.Server
	hook   Webhook
	ended  chan struct{}

	mu     sync.Mutex
	out    io.Writer
	events int
	err    error // of the first write that failed
}

// NewSink serves on the control plane's machine until Close. Events before the
// first call of To are only counted.
func NewSink() (*Sink, error) {
	authority, err := newAuthority("sink")
	if err != nil {
		return nil, err
	}
	own, err := authority.server("sink", controlPlane)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(own.crt, own.key)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", controlPlane+":0")
	if err != nil {
		return nil, err
	}
	s := &Sink{out: io.Discard, ended: make(chan struct{})}
	s.hook = Webhook{URL: "https://" + l.Addr().String() + "/audit", CA: authority.crt, Token: "sink-" + own.fingerprint()}
	s.server = &http.Server{
		Handler: http.HandlerFunc(s.take), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() {
		defer close(s.ended)
		_ = s.server.ServeTLS(l, "", "")
	}()
	return s, nil
}

// Webhook is what an API server needs to post here.
func (s *Sink) Webhook() Webhook { return s.hook }

// To has later events written to w. Calls of w's Write do not overlap. It returns the
// number of events there were before, and the error of a write that failed.
func (s *Sink) To(w io.Writer) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = w
	return s.events, s.err
}

// Close stops serving.
func (s *Sink) Close() error {
	err := s.server.Close()
	<-s.ended
	return err
}

func (s *Sink) take(w http.ResponseWriter, r *http.Request) {
	want := "Bearer " + s.hook.Token
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) == 0 {
		http.Error(w, "the token is not known", http.StatusUnauthorized)
		return
	}
	var list struct{ Items []json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		http.Error(w, fmt.Sprintf("reading events: %v", err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list.Items {
		s.events++
		_, err := s.out.Write(append(e, '\n'))
		s.err = errors.Join(s.err, err)
	}
}
