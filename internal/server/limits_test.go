package server_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server"
	"github.com/clew-sec/clew/internal/server/auth"
)

// endless is a body whose length is not told.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.n)
	e.n -= n
	return n, nil
}

// TestOversizedBodiesAreRefused is a claim of the threat model.
func TestOversizedBodiesAreRefused(t *testing.T) {
	w := start(t, server.Config{Limits: server.Limits{Body: 1000, PostBody: 5000}}, mountAll)
	for path, limit := range map[string]int{"/v1/things/a": 1000, "/v1/sources/audit": 5000} {
		token := w.tokens[auth.Analyst]
		if limit == 5000 {
			token = w.tokens[auth.Ingest]
		}
		w.want(w.do("POST", path, token, &endless{limit}), http.StatusOK)
		w.want(w.do("POST", path, token, bytes.NewReader(make([]byte, limit+1))), http.StatusRequestEntityTooLarge)
		w.want(w.do("POST", path, token, &endless{limit + 1}), http.StatusRequestEntityTooLarge)
	}
	r := w.do("GET", "/v1/things/a", w.tokens[auth.Viewer], nil, func(r *http.Request) { r.Header.Set("X-Big", strings.Repeat("a", 80<<10)) })
	w.want(r, http.StatusRequestHeaderFieldsTooLarge)
}

func TestMalformedRequests(t *testing.T) {
	w := start(t, server.Config{}, mountAll)
	for _, text := range []string{
		"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /v1/things/a HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"POST /v1/setup HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "POST /v1/setup HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"POST /v1/setup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
	} {
		c := w.dial()
		fmt.Fprint(c, text)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode < 400 || resp.StatusCode >= 600 {
			t.Errorf("%q: %v, %v", text, resp, err)
		} else {
			resp.Body.Close()
		}
		c.Close()
	}
	for _, body := range []string{"", "{", "[]", `{"name":1}`, `{"nome":"a"}`, "\x1f\x8b", `{"name":"a\nb"}`, `{"name":""}`} {
		w.want(w.do("POST", "/v1/setup", w.tokens[auth.Setup], strings.NewReader(body)), http.StatusBadRequest)
	}
	resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + w.addr + "/v1/things/a")
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %d", resp.StatusCode)
		}
	}
}

// dial opens a TLS connection without HTTP on it.
func (w *world) dial() *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, w.tls)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// closedWithin drips text into c and reports whether the server closes c in time.
func closedWithin(t *testing.T, c net.Conn, drip string, limit time.Duration) {
	t.Helper()
	start := time.Now()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		io.Copy(io.Discard, c) // ends when the server closes
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-closed:
			return
		case <-tick.C:
			if drip != "" {
				c.Write([]byte(drip)) // an error is what closed tells
			}
			if time.Since(start) > limit {
				t.Errorf("still open after %s", limit)
				c.Close()
				<-closed
				return
			}
		}
	}
}

var slow = server.Limits{Header: 400 * time.Millisecond, Stall: 500 * time.Millisecond, BodyRate: 1 << 10, Idle: 300 * time.Millisecond}

const patience = 6 * time.Second

// TestSlowCallersAreCutOff is a claim of the threat model.
func TestSlowCallersAreCutOff(t *testing.T) {
	w := start(t, server.Config{Limits: slow}, mountAll)
	t.Run("no-handshake", func(t *testing.T) {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		closedWithin(t, c, "", patience)
	})
	t.Run("headers", func(t *testing.T) {
		c := w.dial()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n")
		closedWithin(t, c, "X-A: b\r\n", patience)
	})
	t.Run("idle", func(t *testing.T) {
		c := w.dial()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		closedWithin(t, c, "", patience)
	})
	post := "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nAuthorization: Bearer %s\r\n\r\n"
	t.Run("body", func(t *testing.T) {
		c := w.dial()
		fmt.Fprintf(c, post, "/v1/sources/audit", w.tokens[auth.Ingest])
		closedWithin(t, c, "x", patience)
	})
	t.Run("body-nobody-reads", func(t *testing.T) {
		c := w.dial()
		fmt.Fprintf(c, post, "/v1/sources/audit", "wrong")
		closedWithin(t, c, "x", patience)
	})
	t.Run("body-http2", func(t *testing.T) {
		client := w.newClient(true)
		pr, pw := io.Pipe()
		defer pw.Close()
		go func() {
			for {
				if _, err := pw.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		r, _ := http.NewRequest("POST", "https://"+w.addr+"/v1/sources/audit", pr)
		r.Header.Set("Authorization", "Bearer "+w.tokens[auth.Ingest])
		begun := time.Now()
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode == http.StatusOK {
				t.Errorf("HTTP/%d, %d", resp.ProtoMajor, resp.StatusCode)
			}
		}
		if took := time.Since(begun); took > patience {
			t.Errorf("cut off after %s", took)
		}
	})
	w.want(w.do("GET", "/healthz", "", nil), http.StatusOK)
}

func TestReaderThatDoesNotReadIsCutOff(t *testing.T) {
	done := make(chan error, 1)
	w := start(t, server.Config{Limits: slow}, func(s *server.Server) {
		s.Mount("GET /big", auth.Viewer, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 64<<10))
			}
			done <- err
		}))
	})
	c := w.dial()
	fmt.Fprintf(c, "GET /big HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", w.tokens[auth.Viewer])
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(2 * patience):
		t.Error("the server still writes")
	}
}

// TestSteadyCallersAreNotCutOff sends longer than a body may stand still, with a
// handler that takes its time, in reading and after.
func TestSteadyCallersAreNotCutOff(t *testing.T) {
	w := start(t, server.Config{Limits: slow}, func(s *server.Server) {
		s.Mount("POST /v1/sources/{source}", auth.Ingest, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := r.Body.Read(make([]byte, 10)); err != nil {
				server.BodyError(w, err)
				return
			}
			time.Sleep(2 * slow.Stall)
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				server.BodyError(w, err)
				return
			}
			select {
			case <-r.Context().Done():
				server.Error(w, http.StatusServiceUnavailable, "cut off while it was worked on")
			case <-time.After(2 * slow.Stall):
				server.JSON(w, http.StatusOK, n)
			}
		}))
	})
	pr, pw := io.Pipe()
	go func() {
		for range 60 {
			pw.Write(make([]byte, 100))
			time.Sleep(15 * time.Millisecond)
		}
		pw.Close()
	}()
	w.want(w.do("POST", "/v1/sources/audit", w.tokens[auth.Ingest], pr), http.StatusOK)
	w.want(w.do("POST", "/v1/sources/audit", w.tokens[auth.Ingest], strings.NewReader("0123456789abc")), http.StatusOK)
}

// TestConnectionsAreLimited is a claim of the threat model.
func TestConnectionsAreLimited(t *testing.T) {
	w := start(t, server.Config{Limits: server.Limits{ConnectionsPerAddress: 3}}, nil)
	var open []net.Conn
	for range 3 {
		open = append(open, w.dial())
	}
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	closedWithin(t, c, "", patience)
	open[0].Close()
	deadline := time.Now().Add(patience)
	for {
		if c, err := tls.Dial("tcp", w.addr, w.tls); err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection's place stays taken")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPostsAtOnceAreLimited(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := start(t, server.Config{Limits: server.Limits{Posts: 1}}, func(s *server.Server) {
		s.Mount("POST /v1/sources/{source}", auth.Ingest, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
			server.JSON(w, http.StatusOK, "ok")
		}))
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		w.want(w.do("POST", "/v1/sources/audit", w.tokens[auth.Ingest], nil), http.StatusOK)
	})
	<-entered
	if a := w.want(w.do("POST", "/v1/sources/audit", w.tokens[auth.Ingest], nil), http.StatusServiceUnavailable); a.header.Get("Retry-After") != "1" {
		t.Errorf("%+v", a)
	}
	close(release)
	wg.Wait()
}
