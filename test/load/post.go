package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clew-sec/clew/test/amplify"
)

// poster posts as API servers do that send batches.
type poster struct {
	url, token  string
	caFile      string
	rate        int // events a second; 0: as many as are taken
	connections int
	batch       int // events a post
	duration    time.Duration
	fresh       bool

	taken, bytes, refused atomic.Int64

	mu     sync.Mutex
	delays []time.Duration // of each post
}

func (p *poster) run(rs *amplify.Recordings) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.duration)
	defer cancel()
	bodies := make(chan list, 2*p.connections)
	var wg sync.WaitGroup
	errs := make([]error, p.connections)
	for i := range p.connections {
		web, err := p.web()
		if err != nil {
			return err
		}
		wg.Go(func() {
			if errs[i] = p.send(ctx, web, bodies); errs[i] != nil {
				cancel()
			}
		})
	}
	began := time.Now()
	reported := make(chan struct{})
	go func() { defer close(reported); p.report(ctx) }()
	_, err := rs.Write(&cutter{ctx: ctx, p: p, to: bodies, began: began}, 1<<62, p.fresh)
	close(bodies)
	wg.Wait()
	<-reported
	p.summary(time.Since(began))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(errs...)
}

// list is an audit.k8s.io/v1 EventList, in the words of an API server's webhook.
type list struct {
	body   []byte
	events int
}

const (
	listHead = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`
	listTail = "]}\n"
)

// cutter makes lists of the lines written to it, in time.
type cutter struct {
	ctx   context.Context
	p     *poster
	to    chan<- list
	began time.Time

	next list
	sent int
}

// Write takes one line.
func (c *cutter) Write(line []byte) (int, error) {
	if c.next.events == 0 {
		c.next.body = append(c.next.body, listHead...)
	} else {
		c.next.body = append(c.next.body, ',')
	}
	c.next.body = append(c.next.body, bytes.TrimRight(line, "\n")...)
	if c.next.events++; c.next.events < c.p.batch {
		return len(line), nil
	}
	c.next.body = append(c.next.body, listTail...)
	if c.p.rate > 0 {
		due := c.began.Add(time.Duration(float64(c.sent) / float64(c.p.rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
	}
	select {
	case c.to <- c.next:
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	}
	c.sent += c.next.events
	c.next = list{body: make([]byte, 0, len(c.next.body))}
	return len(line), nil
}

func (p *poster) web() (*http.Client, error) {
	pem, err := os.ReadFile(p.caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the server's authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 30 * time.Second}, nil
}

// send posts bodies, each until it is taken or the time is over.
func (p *poster) send(ctx context.Context, web *http.Client, lists <-chan list) error {
	for l := range lists {
		for ctx.Err() == nil {
			began := time.Now()
			status, err := p.post(ctx, web, l.body)
			if ctx.Err() != nil {
				break
			}
			if err == nil && status == http.StatusOK {
				p.taken.Add(int64(l.events))
				p.bytes.Add(int64(len(l.body)))
				p.mu.Lock()
				p.delays = append(p.delays, time.Since(began))
				p.mu.Unlock()
				break
			}
			if err == nil && status != http.StatusTooManyRequests && status < 500 {
				return fmt.Errorf("posting: answered %d", status)
			}
			p.refused.Add(1)
			time.Sleep(200 * time.Millisecond)
		}
	}
	return nil
}

func (p *poster) post(ctx context.Context, web *http.Client, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := web.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

func (p *poster) report(ctx context.Context) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for last := int64(0); ; {
		select {
		case <-t.C:
			now := p.taken.Load()
			fmt.Fprintf(os.Stderr, "%d events/s, %d refused\n", (now-last)/5, p.refused.Load())
			last = now
		case <-ctx.Done():
			return
		}
	}
}

func (p *poster) summary(took time.Duration) {
	slices.Sort(p.delays)
	at := func(q float64) time.Duration {
		if len(p.delays) == 0 {
			return 0
		}
		return p.delays[int(q*float64(len(p.delays)-1))].Round(time.Millisecond / 10)
	}
	fmt.Fprintf(os.Stderr, "%d events in %s: %.0f events/s, %.1f MB/s; posts p50 %s p99 %s; %d refused\n", p.taken.Load(),
		took.Round(time.Millisecond), float64(p.taken.Load())/took.Seconds(), float64(p.bytes.Load())/took.Seconds()/1e6, at(.5), at(.99), p.refused.Load())
}
