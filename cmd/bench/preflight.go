//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
	"github.com/rivulet-rt/rivulet/protocol"
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
	r, ok := errors.AsType[*raw.RefusedError](err)
	if !ok {
		return err
	}
	o := &s.Options
	is := func(status int, codes ...protocol.Code) bool {
		return r.Status == status || r.Status == 0 && slices.Contains(codes, r.Code)
	}
	switch {
	case is(http.StatusUnauthorized, protocol.ErrorUnauthorized, protocol.CloseUnauthorized, protocol.CloseConnectTimeout) && o.Token == "" && o.TokenSecret == "":
		return fmt.Errorf("the node wants a token (%w): give --token, or --token-secret with its auth.hmac.secret", r)
	case is(http.StatusUnauthorized, protocol.ErrorUnauthorized, protocol.CloseUnauthorized):
		return fmt.Errorf("the node does not accept the token of --token or --token-secret (%w)", r)
	case is(http.StatusForbidden, protocol.ErrorForbidden, protocol.CloseForbidden):
		return fmt.Errorf("the token is not enough (%w): it must allow subscribe and publish on %s:bench.>", r, o.Namespace)
	case is(http.StatusNotFound, protocol.ErrorNotFound):
		return fmt.Errorf("--namespace %s: the node does not have it (%w)", o.Namespace, r)
	case is(http.StatusRequestEntityTooLarge, protocol.ErrorTooLarge) && o.Events != "":
		return fmt.Errorf("--events %s: its first line is more than the namespace takes (%w)", o.Events, r)
	case is(http.StatusRequestEntityTooLarge, protocol.ErrorTooLarge):
		return fmt.Errorf("--payload %s: is more than the namespace takes (%w)", o.payload(), r)
	}
	return err
}
