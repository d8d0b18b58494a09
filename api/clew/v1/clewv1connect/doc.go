// Package clewv1connect holds clients and handlers of clew's API, version 1, made
// from the protos: make proto.
package clewv1connect
