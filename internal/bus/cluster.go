package bus

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// connection returns the options of every connection: it is made again for ever, and
// what cannot be sent now fails now instead of being sent later.
func (l *Log) connection() []nats.Option {
	return []nats.Option{
		nats.Name("clew"),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.logger.Warn("the connection to the log is lost, trying again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { l.logger.Info("the connection to the log is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Warn("the connection to the log", "error", err)
		}),
	}
}

func (l *Log) openCluster(ctx context.Context) error {
	connected := make(chan struct{})
	opts := append(l.connection(),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ConnectHandler(func(*nats.Conn) { close(connected) }),
	)
	if l.cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(l.cfg.CredsFile))
	}
	if l.cfg.TLS.CAFile != "" {
		opts = append(opts, nats.RootCAs(l.cfg.TLS.CAFile))
	}
	if l.cfg.TLS.CertFile != "" {
		opts = append(opts, nats.ClientCert(l.cfg.TLS.CertFile, l.cfg.TLS.KeyFile))
	}
	var err error
	if l.nc, err = nats.Connect(strings.Join(l.cfg.URLs, ","), opts...); err != nil {
		return fmt.Errorf("connecting to the log: %w", err)
	}
	select {
	case <-connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("connecting to the log at %d addresses: %w; last: %w", len(l.cfg.URLs), context.Cause(ctx), lastError(l.nc))
	}
}

func lastError(nc *nats.Conn) error {
	if err := nc.LastError(); err != nil {
		return err
	}
	return nats.ErrNoServers
}
