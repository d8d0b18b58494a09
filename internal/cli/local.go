package cli

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/clew-sec/clew/internal/client"
	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/daemon"
)

// writeProfile leaves in the data folder what the commands need that are given --data:
// where the server is, how it is verified, and the token of the local operator. Only
// the server's user may read the file.
func writeProfile(cfg *config.Config, a daemon.Announcement) error {
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		return fmt.Errorf("writing the profile of the server: %w", err)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = map[bool]string{true: "127.0.0.1", false: "::1"}[ip.To4() != nil]
	}
	p := client.Profile{Server: "https://" + net.JoinHostPort(host, port), Token: a.LocalToken, Fingerprint: a.Fingerprint}
	if cfg.TLS.CertFile == "" {
		// The authority outlives the certificates that it signs.
		dir, err := filepath.Abs(cfg.DataDir)
		if err != nil {
			return fmt.Errorf("writing the profile of the server: %w", err)
		}
		if p.CAFile, err = filepath.Rel(dir, a.CAFile); err != nil {
			p.CAFile = a.CAFile
		}
		p.Fingerprint = ""
	}
	return p.Write(filepath.Join(cfg.DataDir, client.DataProfile))
}
