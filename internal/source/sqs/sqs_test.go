package sqs

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/clew-sec/clew/internal/source"
)

// queue is a server of one queue that speaks the AWS JSON protocol, with
// visibility, receive counts and a dead-letter queue.
type queue struct {
	mu       sync.Mutex
	messages []*queued
	dead     []string
	extended int
	next     int
}

type queued struct {
	id, body, handle string
	visible          time.Time
	received         int
}

const maxReceives = 3

func (q *queue) send(body string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	q.messages = append(q.messages, &queued{id: fmt.Sprint(q.next), body: body})
}

func (q *queue) state() (left int, dead []string, extended int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages), q.dead, q.extended
}

func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		QueueURL, ReceiptHandle              string
		MaxNumberOfMessages, WaitTimeSeconds int
		VisibilityTimeout                    int
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.QueueURL == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		http.Error(w, `{"__type":"com.amazonaws.sqs#InvalidAddress"}`, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	visibility := time.Duration(in.VisibilityTimeout) * time.Second
	switch r.Header.Get("X-Amz-Target") {
	case "AmazonSQS.ReceiveMessage":
		for end := time.Now().Add(time.Duration(in.WaitTimeSeconds) * time.Second); ; {
			if out := q.receive(visibility); out != nil || time.Now().After(end) || r.Context().Err() != nil {
				json.NewEncoder(w).Encode(map[string]any{"Messages": out})
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	case "AmazonSQS.DeleteMessage":
		q.with(in.ReceiptHandle, func(i int) { q.messages = append(q.messages[:i], q.messages[i+1:]...) })
		w.Write([]byte("{}"))
	case "AmazonSQS.ChangeMessageVisibility":
		q.with(in.ReceiptHandle, func(i int) { q.messages[i].visible = time.Now().Add(visibility); q.extended++ })
		w.Write([]byte("{}"))
	default:
		http.Error(w, `{"__type":"com.amazonaws.sqs#UnsupportedOperation"}`, http.StatusBadRequest)
	}
}

func (q *queue) with(handle string, f func(i int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.messages {
		if m.handle == handle {
			f(i)
			return
		}
	}
}

func (q *queue) receive(visibility time.Duration) []map[string]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.messages {
		if time.Now().Before(m.visible) {
			continue
		}
		if m.received++; m.received > maxReceives {
			q.dead = append(q.dead, m.body)
			q.messages = append(q.messages[:i], q.messages[i+1:]...)
			return nil
		}
		m.visible, m.handle = time.Now().Add(visibility), fmt.Sprintf("%s-%d", m.id, m.received)
		sum := md5.Sum([]byte(m.body))
		return []map[string]string{{"MessageId": m.id, "ReceiptHandle": m.handle, "Body": m.body, "MD5OfBody": hex.EncodeToString(sum[:])}}
	}
	return nil
}

type log struct {
	mu    sync.Mutex
	raw   []string
	fails error
}

func (l *log) Accept(_ context.Context, b source.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		return l.fails
	}
	for _, r := range b.Records {
		l.raw = append(l.raw, string(r.Raw))
	}
	return nil
}

func (l *log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = err
}

func (l *log) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.raw)
}

// rig is AWS on this machine.
type rig struct {
	*testing.T
	*queue
	*log
	objects *s3.Client
	meter   *source.Meter
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, queue: &queue{}, log: &log{}, meter: source.NewMeter("trail", "sqs", "account")}
	bucket := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(bucket.Close)
	keys := credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "k", "")
	r.objects = s3.New(s3.Options{Region: "eu-west-1", Credentials: keys, BaseEndpoint: &bucket.URL, UsePathStyle: true})
	if _, err := r.objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("trails")}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r.queue)
	t.Cleanup(server.Close)
	client := sqs.New(sqs.Options{Region: "eu-west-1", Credentials: keys, BaseEndpoint: &server.URL})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	reader := New(Config{Name: "trail", Cluster: "account", QueueURL: server.URL + "/1/q", Queue: client, Objects: r.objects, Sink: r.log, Meter: r.meter,
		Visibility: time.Second, Retry: 20 * time.Millisecond})
	go func() { defer close(done); reader.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// put stores a file of n records, or what raw holds.
func (r *rig) put(key string, n int, raw ...byte) {
	r.Helper()
	if raw == nil {
		var records []string
		for i := range n {
			records = append(records, fmt.Sprintf(`{"eventVersion":"1.08","userIdentity":{"type":"Root"},"eventName":"ListUsers","eventSource":"iam.amazonaws.com","eventID":"%s-%d"}`, key, i))
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(`{"Records":[` + strings.Join(records, ",") + `]}`))
		z.Close()
		raw = b.Bytes()
	}
	if _, err := r.objects.PutObject(r.Context(), &s3.PutObjectInput{Bucket: aws.String("trails"), Key: &key, Body: bytes.NewReader(raw)}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) await(what string, ok func() bool) {
	r.Helper()
	for range 1500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	left, dead, extended := r.state()
	r.Fatalf("%s: %d records, %d messages left, dead %q, %d extended, %+v", what, r.count(), left, dead, extended, r.meter.Status())
}

func created(key string) string {
	return fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0","bucket":{"name":"trails"},"object":{"key":%q,"size":1}}}]}`, key)
}

func TestReader(t *testing.T) {
	r := newRig(t)
	for i := range 6 {
		r.put(fmt.Sprintf("AWSLogs/1/a b+%d.json.gz", i), 5)
	}
	sns, _ := json.Marshal(created("AWSLogs/1/a+b%2B1.json.gz"))
	for _, body := range []string{
		created("AWSLogs/1/a+b%2B0.json.gz"),
		`{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":` + string(sns) + `}`,
		`{"version":"0","detail-type":"Object Created","source":"aws.s3","detail":{"version":"0","bucket":{"name":"trails"},"object":{"key":"AWSLogs/1/a b+2.json.gz","size":1}}}`,
		`{"s3Bucket":"trails","s3ObjectKey":["AWSLogs/1/a b+3.json.gz","AWSLogs/1/a b+4.json.gz"]}`,
		`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"trails"}`,
		strings.Replace(created("AWSLogs/1/a+b%2B5.json.gz"), "ObjectCreated:Put", "ObjectRemoved:Delete", 1),
	} {
		r.send(body)
	}
	r.awaitEmpty()
	if s := r.meter.Status(); r.count() != 25 || s.Accepted != 25 || len(s.Rejected) != 0 {
		t.Errorf("%d records, status %+v", r.count(), s)
	}
}

func (r *rig) awaitEmpty() {
	r.Helper()
	r.await("empty queue", func() bool { left, dead, _ := r.state(); return left == 0 && len(dead) == 0 })
}

// What cannot be read is set aside by the queue, and the rest goes on.
func TestPoison(t *testing.T) {
	r := newRig(t)
	r.put("good", 3)
	r.put("hello", 0, []byte("hello")...)
	r.put("broken", 0, 0x1f, 0x8b, 8, 0, 0, 0)
	for _, body := range []string{"hello", `{"a":1}`, created("hello"), created("broken"), created("missing"), created("good")} {
		r.send(body)
	}
	r.await("dead letters", func() bool { left, dead, _ := r.state(); return left == 0 && len(dead) == 5 })
	s := r.meter.Status()
	if r.count() != 3 || s.Rejected[source.DropUnknown] != 3*maxReceives || s.Rejected[source.DropUnreadable] != maxReceives || s.Rejected["fetch"] != maxReceives {
		t.Errorf("%d records, status %+v", r.count(), s)
	}
}

// While the log is full a message stays ours, however long that is.
func TestLogFull(t *testing.T) {
	r := newRig(t)
	r.fail(fmt.Errorf("full: %w", source.ErrUnavailable))
	r.put("good", 3)
	r.send(created("good"))
	r.await("visibility extended", func() bool { _, _, extended := r.state(); return extended >= 5 })
	if left, dead, _ := r.state(); left != 1 || len(dead) != 0 || r.messages[0].received != 1 {
		t.Errorf("%d left, dead %q", left, dead)
	}
	r.fail(nil)
	r.awaitEmpty()
	if r.count() != 3 {
		t.Errorf("%d records", r.count())
	}
	r.fail(&source.TooLargeError{Bytes: 2, Max: 1})
	r.put("large", 1)
	r.send(created("large"))
	r.awaitEmpty()
	if s := r.meter.Status(); s.Dropped[source.DropTooLarge] != 1 {
		t.Errorf("status %+v", s)
	}
}

func FuzzNotified(f *testing.F) {
	f.Add(created("a+b"))
	f.Add(`{"Message":"{\"Message\":\"{}\"}"}`)
	f.Fuzz(func(t *testing.T, body string) {
		objects, err := notified(body)
		if err != nil && !errors.Is(err, errUnknownMessage) {
			t.Error(err)
		}
		if err != nil && len(objects) > 0 {
			t.Error("files and an error")
		}
	})
}
