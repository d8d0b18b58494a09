package sqs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// object is a file in S3.
type object struct{ bucket, key string }

var errUnknownMessage = errors.New("the message tells of no file")

// notification is any of the messages that tell of files.
type notification struct {
	Message string // of SNS, which wraps any of the others

	Event   string     // of S3: "s3:TestEvent" when the notification is set up
	Records []s3Record // of S3

	DetailType string `json:"detail-type"` // of EventBridge
	Detail     s3Files

	Bucket string   `json:"s3Bucket"`    // of CloudTrail
	Keys   []string `json:"s3ObjectKey"` // of CloudTrail
}

// s3Record is one event of S3.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
type s3Record struct {
	Name string  `json:"eventName"`
	S3   s3Files `json:"s3"`
}

type s3Files struct {
	Bucket struct{ Name string }
	Object struct{ Key string }
}

// notified returns the files that the message tells were created, none when it
// tells of something else that happens to files. The error wraps errUnknownMessage.
func notified(body string) ([]object, error) {
	for range 2 {
		var n notification
		if err := json.Unmarshal([]byte(body), &n); err != nil {
			return nil, fmt.Errorf("%w: it is no JSON of a notification", errUnknownMessage) // err may show the message
		}
		switch {
		case n.Message != "":
			body = n.Message
			continue
		case n.Event == "s3:TestEvent":
			return nil, nil
		case n.Records != nil:
			return ofS3(n.Records)
		case n.DetailType == "Object Created" && n.Detail.Bucket.Name != "":
			return []object{{n.Detail.Bucket.Name, n.Detail.Object.Key}}, nil
		case n.DetailType != "":
			return nil, nil
		case n.Bucket != "" && len(n.Keys) > 0:
			var out []object
			for _, k := range n.Keys {
				out = append(out, object{n.Bucket, k})
			}
			return out, nil
		}
		break
	}
	return nil, errUnknownMessage
}

// ofS3 reads S3's own events, in which keys are escaped as in a query.
func ofS3(records []s3Record) ([]object, error) {
	var out []object
	for _, r := range records {
		if !strings.HasPrefix(r.Name, "ObjectCreated:") {
			continue
		}
		key, err := url.QueryUnescape(r.S3.Object.Key)
		if err != nil || key == "" || r.S3.Bucket.Name == "" {
			return nil, errUnknownMessage
		}
		out = append(out, object{r.S3.Bucket.Name, key})
	}
	return out, nil
}
