package blob

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// cacheBlock is what one request reads. Object stores take as long for a byte as
	// for this much.
	cacheBlock = 1 << 20
	// cacheBlocks bounds the memory that blocks read take: 128 MiB.
	cacheBlocks = 128
	// readTimeout bounds one read; its caller's context does not reach it.
	readTimeout = 30 * time.Second
)

// Bucket keeps blobs as objects of an S3-compatible bucket. An object is there as a
// whole or not at all, so nothing needs a temporary name. Its methods may be called
// from several goroutines.
type Bucket struct {
	client         *s3.Client
	bucket, prefix string
	cache          cache
}

// NewBucket returns the blobs of bucket whose keys begin with prefix, "" or ending in
// "/". The caller keeps client.
func NewBucket(client *s3.Client, bucket, prefix string) *Bucket {
	return &Bucket{client: client, bucket: bucket, prefix: prefix, cache: cache{blocks: map[blockKey]*list.Element{}}}
}

// List calls each with the blobs whose names begin with prefix.
func (b *Bucket) List(ctx context.Context, prefix string, each func(name string, bytes int64)) error {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: aws.String(b.prefix + prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing %q: %w", prefix, err)
		}
		for _, o := range page.Contents {
			each(strings.TrimPrefix(aws.ToString(o.Key), b.prefix), aws.ToInt64(o.Size))
		}
	}
	return nil
}

// Put stores an object.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.bucket, Key: aws.String(b.prefix + name), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	})
	if err != nil {
		return fmt.Errorf("storing %q: %w", name, err)
	}
	b.cache.forget(name)
	return nil
}

// Open opens a blob for reading.
func (b *Bucket) Open(ctx context.Context, name string) (File, error) {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name)})
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", name, missing(err))
	}
	return &object{bucket: b, name: name, size: aws.ToInt64(head.ContentLength)}, nil
}

// missing makes the errors for an object that is not there wrap fs.ErrNotExist.
func missing(err error) error {
	var notFound *types.NotFound
	var noKey *types.NoSuchKey
	if errors.As(err, &notFound) || errors.As(err, &noKey) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// Move copies an object and deletes the first. When it is interrupted between the
// two, both are there.
func (b *Bucket) Move(ctx context.Context, from, to string) error {
	source := url.PathEscape(b.bucket + "/" + b.prefix + from)
	_, err := b.client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + to), CopySource: &source})
	if err != nil {
		return fmt.Errorf("moving %q to %q: %w", from, to, missing(err))
	}
	return b.Remove(ctx, from)
}

// Remove deletes a blob. It is no error when there is none.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name)})
	if err = missing(err); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting %q: %w", name, err)
	}
	b.cache.forget(name)
	return nil
}

// object reads an object by blocks.
type object struct {
	bucket *Bucket
	name   string
	size   int64
}

// Close does nothing: blocks stay in the bucket's cache.
func (o *object) Close() error { return nil }

// ReadAt reads at off. It gives io.EOF past the end.
func (o *object) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at >= o.size {
			return n, io.EOF
		}
		block, err := o.block(at / cacheBlock)
		if err != nil {
			return n, fmt.Errorf("reading %q at %d: %w", o.name, at, err)
		}
		in := int(at % cacheBlock)
		if in >= len(block) {
			return n, io.EOF
		}
		n += copy(p[n:], block[in:])
	}
	return n, nil
}

func (o *object) block(number int64) ([]byte, error) {
	k := blockKey{o.name, number}
	if b, ok := o.bucket.cache.get(k); ok {
		return b, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	first := number * cacheBlock
	last := min(first+cacheBlock, o.size) - 1
	out, err := o.bucket.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.bucket.bucket, Key: aws.String(o.bucket.prefix + o.name), Range: aws.String(fmt.Sprintf("bytes=%d-%d", first, last)),
	})
	if err != nil {
		return nil, err
	}
	b := make([]byte, last-first+1)
	n, err := io.ReadFull(out.Body, b)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return nil, err
	}
	o.bucket.cache.put(k, b[:n])
	return b[:n], nil
}

type blockKey struct {
	name   string
	number int64
}

// cache keeps blocks, the most recently used in front.
type cache struct {
	mu     sync.Mutex
	order  list.List
	blocks map[blockKey]*list.Element
}

type cached struct {
	key  blockKey
	data []byte
}

func (c *cache) get(k blockKey) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.blocks[k]
	if e == nil {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).data, true
}

func (c *cache) put(k blockKey, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks[k] != nil {
		return
	}
	c.blocks[k] = c.order.PushFront(&cached{k, data})
	if c.order.Len() > cacheBlocks {
		c.remove(c.order.Back())
	}
}

// forget drops the blocks of a blob.
func (c *cache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.blocks {
		if k.name == name {
			c.remove(e)
		}
	}
}

func (c *cache) remove(e *list.Element) {
	c.order.Remove(e)
	delete(c.blocks, e.Value.(*cached).key)
}
