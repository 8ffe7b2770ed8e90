package api

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds the HTTP API.
type Config struct {
	// MaxBody bounds the body of one publish, MaxBatchBody that of a batch, in bytes.
	MaxBody      int64
	MaxBatchBody int64
	// BodyBudget bounds the bytes of all bodies in memory at once; past it publishing
	// answers 503, and 429 to a caller who has more of it under way than is left for others.
	BodyBudget int64
	// BodyTimeout bounds the time to receive a body.
	BodyTimeout time.Duration
	// Timeout bounds the work of one request, once its body is there.
	Timeout time.Duration
	// Telemetry has the node take what browsers' monitors report.
	Telemetry bool
	// WriteTimeout bounds the time to send a response.
	WriteTimeout time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MaxBody:      8 << 20, // a namespace's largest message as base64, with its headers
		MaxBatchBody: 16 << 20,
		BodyBudget:   256 << 20,
		BodyTimeout:  30 * time.Second,
		Timeout:      15 * time.Second,
		WriteTimeout: 60 * time.Second,
	}
}

// Validate reports every value out of bounds, naming its key.
func (c Config) Validate() error {
	var errs []error
	least := func(key string, value, least int64) {
		if value < least {
			errs = append(errs, fmt.Errorf("api.%s: %d must be at least %d bytes", key, value, least))
		}
	}
	least("max_body", c.MaxBody, 1024)
	least("max_batch_body", c.MaxBatchBody, c.MaxBody)
	least("body_budget", c.BodyBudget, c.MaxBatchBody)
	between := func(key string, value time.Duration) {
		if value < time.Millisecond || value > time.Hour {
			errs = append(errs, fmt.Errorf("api.%s: %v must be from 1ms to 1h", key, value))
		}
	}
	between("body_timeout", c.BodyTimeout)
	between("timeout", c.Timeout)
	between("write_timeout", c.WriteTimeout)
	return errors.Join(errs...)
}
