//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// preflightTimeout bounds each look at a node before a run.
const preflightTimeout = 5 * time.Second

// resolve finds the addresses of the nodes.
func resolve(ctx context.Context, urls []string) ([]node, error) {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	nodes := make([]node, 0, len(urls))
	for _, text := range urls {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "":
			return nil, wrong("--url %q: write for example http://127.0.0.1:8080", text)
		case u.Scheme != "http":
			return nil, wrong("--url %q: must begin with http://, as the load is put on the node itself and not on what does TLS for it", text)
		case u.Path != "" && u.Path != "/":
			return nil, wrong("--url %q: must have no path", text)
		}
		port := u.Port()
		if port == "" {
			port = "80"
		}
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", u.Hostname())
		if err != nil {
			return nil, wrong("--url %q: has no IPv4 address: %w", text, err)
		}
		to, err := netip.ParseAddrPort(net.JoinHostPort(addresses[0].Unmap().String(), port))
		if err != nil {
			return nil, wrong("--url %q: %w", text, err)
		}
		nodes = append(nodes, node{to, u.Host})
	}
	return nodes, nil
}

// preflight has one client do on every node what thousands are about to, so that
// what is wrong with all of them is said once.
func preflight(ctx context.Context, s *spec) error {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	for i, n := range s.Nodes {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", n.Address.String())
		if err != nil {
			return fmt.Errorf("%w: --url %s: %w; is it running there?", ErrUnreachable, s.Options.URLs[i], err)
		}
		_ = conn.Close() // nothing was sent
		if err := try(ctx, s, n); err != nil {
			return fmt.Errorf("bench: %s: %w", s.Options.URLs[i], advise(s, err))
		}
	}
	return nil
}

// try subscribes and publishes once.
func try(ctx context.Context, s *spec, n node) error {
	loop, err := raw.NewLoop()
	if err != nil {
		return err
	}
	defer loop.Close()
	token, err := s.Options.token("bench-" + s.Run)
	if err != nil {
		return err
	}
	channel := s.Options.Namespace + ":bench." + s.Run + ".preflight"
	peer := raw.Peer{To: n.Address, Host: n.Host, Token: token}
	if s.Options.Scenario != Publish {
		if err := trySubscribe(ctx, loop, peer, channel); err != nil {
			return fmt.Errorf("subscribe to %s: %w", channel, err)
		}
	}
	if s.Options.Scenario.Publishes() {
		if err := tryPublish(ctx, loop, peer, channel, s.Options); err != nil {
			return fmt.Errorf("publish on %s: %w", channel, err)
		}
	}
	return nil
}

func trySubscribe(ctx context.Context, loop *raw.Loop, peer raw.Peer, channel string) error {
	var failure error
	done := false
	tally := &raw.Tally{
		OnSubscribed: func(*raw.Subscriber) { done = true },
		OnFailed:     func(_ *raw.Subscriber, err error) { done, failure = true, err },
	}
	sub := raw.NewSubscriber(tally, channel)
	if err := sub.ConnectPeer(loop, peer); err != nil {
		return err
	}
	err := await(ctx, loop, &done)
	sub.Cut()
	return errors.Join(err, failure)
}

func tryPublish(ctx context.Context, loop *raw.Loop, peer raw.Peer, channel string, o Options) error {
	data, err := o.data()
	if err != nil {
		return err
	}
	pub, err := raw.NewPeerPublisher(loop, peer)
	if err != nil {
		return err
	}
	var failure error
	done := false
	pub.Publish(raw.NewPeerRequest(peer, channel, data[0]), func(err error) { done, failure = true, err })
	return errors.Join(await(ctx, loop, &done), failure)
}

// await runs the loop until something is done.
func await(ctx context.Context, loop *raw.Loop, done *bool) error {
	err := loop.Run(ctx, func() bool { return *done })
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", preflightTimeout, ErrUnreachable)
	}
	return err
}

// advise says what to do about what a node answers.
func advise(s *spec, err error) error {
	text := err.Error()
	has := func(codes ...string) bool {
		for _, c := range codes {
			if strings.Contains(text, c) {
				return true
			}
		}
		return false
	}
	o := &s.Options
	switch {
	case has(`"code":4401`, "status 401", "HTTP/1.1 401", `"code":42`) && o.Token == "" && o.TokenSecret == "":
		return fmt.Errorf("the node wants a token: give --token, or --token-secret with its auth.hmac.secret (%w)", err)
	case has(`"code":4401`, "status 401", "HTTP/1.1 401", `"code":4201`):
		return fmt.Errorf("the node does not accept the token of --token or --token-secret (%w)", err)
	case has(`"code":4403`, "status 403", "HTTP/1.1 403"):
		return fmt.Errorf("the token is not enough: it must allow subscribe and publish on %s:bench.> (%w)", o.Namespace, err)
	case has(`"code":4404`, "status 404"):
		return fmt.Errorf("--namespace %s: the node does not have it (%w)", o.Namespace, err)
	case has(`"code":4413`, "status 413"):
		return fmt.Errorf("--payload %d: is more than the namespace takes (%w)", o.Payload, err)
	}
	return err
}
