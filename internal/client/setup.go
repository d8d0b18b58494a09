package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/clew-sec/clew/internal/rule"
)

// SetUp spends the profile's set-up token on the token of the first administrator,
// called name, which it returns.
func (c *Client) SetUp(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	body, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return "", fmt.Errorf("asking for the first administrator's token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server+"/v1/setup", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("asking for the first administrator's token: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.doer.Do(req)
	if err != nil {
		return "", explain{c.server}.err("/v1/setup", err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	var out struct{ Token, Message string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxProfile)).Decode(&out); err != nil {
		return "", fmt.Errorf("asking %s for the first administrator's token: status %d: %w", c.server, resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking %s for the first administrator's token: status %d: %s", c.server, resp.StatusCode, rule.AppendClean(nil, out.Message, maxMessage))
	}
	return CheckToken(out.Token)
}
