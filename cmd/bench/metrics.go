//go:build linux

package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// metrics is a node that tells what it takes at /metrics.
type metrics struct {
	url    string
	client *http.Client
}

const metricsTimeout = 5 * time.Second

func newMetrics(url string) *metrics {
	return &metrics{strings.TrimSuffix(url, "/") + "/metrics", &http.Client{
		Timeout: metricsTimeout, Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

func (m *metrics) cost(ctx context.Context) (cost, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url, nil)
	if err != nil {
		return cost{}, fmt.Errorf("bench: %w", err)
	}
	res, err := m.client.Do(req)
	if err != nil {
		return cost{}, fmt.Errorf("bench: read the node's metrics: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return cost{}, fmt.Errorf("bench: %s answers %s: %w", m.url, res.Status, os.ErrInvalid)
	}
	return parseMetrics(res.Body)
}

func parseMetrics(r io.Reader) (c cost, err error) {
	found := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment, or a sample with labels
		}
		switch name {
		case "process_cpu_seconds_total":
			c.cpu = time.Duration(v * float64(time.Second))
			found++
		case "process_resident_memory_bytes":
			c.memory = int64(v)
			found++
		}
	}
	if found < 2 {
		return c, fmt.Errorf("bench: the metrics have no process_cpu_seconds_total or process_resident_memory_bytes: %w", os.ErrInvalid)
	}
	return c, nil
}
