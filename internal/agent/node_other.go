//go:build !linux

package agent

import (
	"time"

	"github.com/clew-sec/clew/internal/sensor"
)

func kernelRelease() string        { return "unknown" }
func pidNamespace() fact           { return fact{"pid namespace", "none", false} }
func bootTime() (time.Time, error) { return time.Time{}, sensor.ErrPlatform }
