package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

func listen(ctx context.Context, address string) (net.Listener, error) {
	return listenAt(ctx, address, "--listen")
}

// listenAt says in its errors by which setting another address can be chosen.
func listenAt(ctx context.Context, address, setting string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	listener, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: %s belongs to another process; choose another with %s, or %s %s for any free port",
			ErrPortInUse, address, setting, setting, anyPort(address))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not permitted; ports below 1024 need privileges, choose another with %s: %w", address, setting, err)
	case err != nil:
		return nil, fmt.Errorf("listen on %s (%s): %w", address, setting, err)
	}
	return listener, nil
}

// anyPort is address with a port that the system chooses.
func anyPort(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = ""
	}
	return net.JoinHostPort(host, "0")
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
