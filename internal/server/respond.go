package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
)

// codes are the words of the connect protocol for a status, so that all of the
// server's errors look alike.
var codes = map[int]string{
	http.StatusBadRequest: "invalid_argument", http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "permission_denied",
	http.StatusNotFound: "not_found", http.StatusConflict: "already_exists", http.StatusTooManyRequests: "resource_exhausted",
	http.StatusRequestEntityTooLarge: "resource_exhausted", http.StatusRequestTimeout: "deadline_exceeded",
	http.StatusServiceUnavailable: "unavailable", http.StatusInternalServerError: "internal",
}

// Error answers with a status and {"code": …, "message": …}. The message is shown to
// whoever called.
func Error(w http.ResponseWriter, status int, message string) {
	word, ok := codes[status]
	if !ok {
		word = "unknown"
	}
	JSON(w, status, map[string]string{"code": word, "message": message})
}

// JSON answers with a status and v.
func JSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the caller has gone
}

// BodyError answers for a body that could not be read or understood: 413 when it is
// too large, 408 when it came too slowly, 400 otherwise.
func BodyError(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		Error(w, http.StatusRequestEntityTooLarge, "the body is too large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		Error(w, http.StatusRequestTimeout, "the body came too slowly")
	default:
		Error(w, http.StatusBadRequest, "the body cannot be read")
	}
}
