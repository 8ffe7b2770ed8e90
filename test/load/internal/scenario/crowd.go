//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// crowd measures a broadcast to more connections than one process may have: several
// nodes that share a log, each with its own generator process.
func crowd(ctx context.Context, cfg Config) ([]Row, error) {
	s := cfg.Sizes
	all := s.CrowdNodes * s.CrowdConnections
	row := Row{Scenario: "crowd", Case: fmt.Sprintf("%d connections to %d nodes, %d messages to all", all, s.CrowdNodes, s.CrowdMessages)}
	cfg.logf("crowd: %s", row.Case)
	c, err := newCluster(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	before := c.memory()
	began := time.Now()
	if err := c.fill(ctx, cfg); err != nil {
		return nil, err
	}
	row.add("connections", float64(all))
	row.add("connects/s", float64(all)/time.Since(began).Seconds())
	row.add("node bytes each", (c.memory()-before)/float64(all))
	row.add("all nodes MB", c.memory()/1e6)
	latencies, err := c.broadcast(ctx, cfg)
	if err != nil {
		return nil, err
	}
	row.add("deliveries", float64(len(latencies)))
	row.latencies(latencies)
	return []Row{row}, nil
}

// cluster is a NATS server, nodes, and a generator process for each of them.
type cluster struct {
	nats    *process
	nodes   []*node
	workers []*process
	data    string
}

func newCluster(ctx context.Context, cfg Config) (*cluster, error) {
	c := &cluster{}
	var err error
	if c.data, err = os.MkdirTemp("", "rivulet-load-"); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	if err := c.start(ctx, cfg); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, cfg Config) (err error) {
	c.nats, err = launch(ctx, true, nil, cfg.NATS, "-js", "-sd", c.data, "-a", "127.0.0.1", "-p", "-1")
	if err != nil {
		return err
	}
	const mark = "Listening for client connections on "
	line, err := c.nats.await(ctx, mark)
	if err != nil {
		return err
	}
	_, address, _ := strings.Cut(line, mark)
	cfg.NATSURL = "nats://" + address
	for range cfg.Sizes.CrowdNodes {
		n, err := startNode(ctx, cfg)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// fill has every worker connect its share, all at once.
func (c *cluster) fill(ctx context.Context, cfg Config) error {
	for _, n := range c.nodes {
		args := append(slices.Clone(cfg.Self[1:]), "-worker", n.address.String(), "-connections", strconv.Itoa(cfg.Sizes.CrowdConnections),
			"-messages", strconv.Itoa(cfg.Sizes.CrowdMessages))
		w, err := launch(ctx, false, nil, cfg.Self[0], args...)
		if err != nil {
			return err
		}
		c.workers = append(c.workers, w)
	}
	for _, w := range c.workers {
		if _, err := w.awaitFor(ctx, 5*time.Minute, "subscribed"); err != nil {
			return err
		}
	}
	return nil
}

// broadcast publishes by the first node and collects what all workers measured.
func (c *cluster) broadcast(ctx context.Context, cfg Config) ([]time.Duration, error) {
	events, err := loadEvents(cfg.Events)
	if err != nil {
		return nil, err
	}
	r, err := newClients(cfg, c.nodes[0].address)
	if err != nil {
		return nil, err
	}
	defer r.close()
	r.events = events
	list, err := r.topics([]string{crowdChannel}, 1)
	if err != nil {
		return nil, err
	}
	for range cfg.Sizes.CrowdMessages {
		r.publish(list[0], time.Time{}, nil)
		if err := r.pass(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	var all []time.Duration
	for _, w := range c.workers {
		line, err := w.awaitFor(ctx, patience, "{")
		if err != nil {
			return nil, err
		}
		var result workerResult
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			return nil, fmt.Errorf("scenario: a worker says %.200q: %w", line, err)
		}
		if result.Fault != "" {
			return nil, fmt.Errorf("scenario: a worker: %s", result.Fault)
		}
		all = append(all, result.Latencies...)
	}
	return all, nil
}

func (c *cluster) memory() (sum float64) {
	for _, n := range c.nodes {
		sum += n.memory()
	}
	return sum
}

func (c *cluster) stop() {
	for _, w := range c.workers {
		w.kill()
	}
	for _, n := range c.nodes {
		n.stop()
	}
	if c.nats != nil {
		c.nats.kill()
	}
	_ = os.RemoveAll(c.data) // in the temporary folder anyway
}

const crowdChannel = namespace + ":everybody"

// workerResult is what a worker prints at its end.
type workerResult struct {
	Latencies []time.Duration
	Fault     string
}

// Worker connects subscribers to a node, says so in a line, and ends with what it
// measured of so many messages, as JSON. Its parent ends it sooner by ending itself.
func Worker(ctx context.Context, to netip.AddrPort, connections, messages int, out io.Writer) error {
	r, err := newClients(Config{Log: io.Discard}, to)
	if err != nil {
		return err
	}
	defer r.close()
	for range connections {
		s := raw.NewSubscriber(r.tally, crowdChannel)
		if err := s.Connect(r.loop, to); err != nil {
			return err
		}
		r.subs = append(r.subs, s)
		if err := r.handshakes(ctx, connectWindow); err != nil {
			return err
		}
	}
	if err := r.handshakes(ctx, 1); err != nil {
		return err
	}
	r.measure(connections * messages)
	if _, err := fmt.Fprintln(out, "subscribed"); err != nil {
		return err
	}
	var result workerResult
	err = r.patient(ctx, 10*time.Minute, "messages to all", func() bool { return r.tally.Received >= connections*messages })
	if err != nil {
		result.Fault = err.Error()
	}
	result.Latencies = r.tally.Latencies
	return errors.Join(err, json.NewEncoder(out).Encode(result))
}
