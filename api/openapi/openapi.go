// Package openapi holds the description of the API for programs that do not speak
// protocol buffers. It is generated from the protos: make proto.
package openapi

import _ "embed"

// JSON is the description, OpenAPI 2.0.
//
//go:embed clew.swagger.json
var JSON []byte
