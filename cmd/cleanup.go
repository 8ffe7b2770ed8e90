package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// cleanups is the stack of what has to be undone, one entry per step of a start.
// It is not safe for concurrent use.
type cleanups struct {
	steps []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

func (c *cleanups) push(name string, run func(context.Context) error) {
	c.steps = append(c.steps, cleanup{name, run})
}

// run undoes the steps, the last first, all of them whatever fails, and joins
// the errors. ctx bounds each; what outlasts it is cut short by the step itself.
func (c *cleanups) run(ctx context.Context, logger *slog.Logger) error {
	var errs []error
	for len(c.steps) > 0 {
		last := len(c.steps) - 1
		step := c.steps[last]
		c.steps = c.steps[:last]
		began := time.Now()
		err := step.run(ctx)
		logger.Debug("stopped", slog.String("step", step.name), slog.Duration("took", time.Since(began)))
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", step.name, err))
		}
	}
	return errors.Join(errs...)
}
