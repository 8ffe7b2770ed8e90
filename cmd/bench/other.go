//go:build !linux

package bench

import (
	"context"
	"io"
)

// Run returns ErrPlatform.
func Run(context.Context, Options) (Result, error) { return Result{}, ErrPlatform }

// Work returns ErrPlatform.
func Work(context.Context, io.Reader, io.Writer) error { return ErrPlatform }
