// Package clewv1 holds the messages of clew's API, version 1, made from the protos
// beside it: make proto.
package clewv1
