package push

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/clew-sec/clew/internal/source"
)

// PubSub returns the handler of a Google Pub/Sub push subscription that wraps its
// payload, as a log sink's LogEntry is. It authenticates the bearer token that
// Pub/Sub signs (see OIDC); one in the subscription's URL would stand in logs. A
// message that holds nothing known is counted and acknowledged: Pub/Sub would send it
// again until it expires.
//
// https://cloud.google.com/pubsub/docs/push
func PubSub(c Config) http.Handler {
	return newEndpoint(c, protocol{credential: authorization, read: readPubSub, reply: plainReply})
}

func readPubSub(_ *http.Request, body io.Reader, in *intake) error {
	var envelope struct {
		Message *struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	dec := json.NewDecoder(body)
	if err := dec.Decode(&envelope); err != nil {
		return fmt.Errorf("reading Pub/Sub's envelope: %w", err)
	}
	if envelope.Message == nil {
		return refuse(http.StatusBadRequest, "protocol", errors.New("the body is no envelope of Pub/Sub"))
	}
	if len(envelope.Message.Data) == 0 {
		in.Meter.Dropped(source.DropUnknown, errors.New("a message of Pub/Sub without data"), time.Now())
		return nil
	}
	return in.payload(envelope.Message.Data)
}
