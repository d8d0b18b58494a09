//go:build !linux || !amd64

package sensor

import "context"

// Sensor is the loaded and attached sensor; there is none on this platform.
type Sensor struct{}

// Open returns ErrPlatform.
func Open(Options) (*Sensor, error) { return nil, ErrPlatform }

// Hooks returns nothing.
func (*Sensor) Hooks() []Hook { return nil }

// CgroupRoot returns "".
func (*Sensor) CgroupRoot() string { return "" }

// Run returns ErrPlatform.
func (*Sensor) Run(context.Context, func(*Record)) error { return ErrPlatform }

// Snapshot returns ErrPlatform.
func (*Sensor) Snapshot(func(*Record)) error { return ErrPlatform }

// Losses returns ErrPlatform.
func (*Sensor) Losses() (*Losses, error) { return nil, ErrPlatform }

// Close does nothing.
func (*Sensor) Close() error { return nil }
