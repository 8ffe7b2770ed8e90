package rivulet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Version of this SDK, told to the node.
const Version = "0.1.0"

// Options configure a Client. The zero value is ready to use.
type Options struct {
	// URLs of further nodes. After a failure the next one is tried, in turn.
	URLs []string
	// Token is sent at every connect.
	Token string
	// TokenFunc gives the token instead, anew at every connect, and when the node says
	// that the one it has expires. It may take its time, as long as ctx. An error is
	// retried like a failure to connect, unless it is an *Error with code 4401 or 4403.
	TokenFunc func(ctx context.Context) (string, error)
	// Codec of the connection; the zero value is JSON.
	Codec Codec
	// Name of the application, for the node's logs; at most 64 bytes.
	Name string
	// Session names the durable session that this client continues, one of its user's
	// own: 1 to 64 bytes of A-Z, a-z, 0-9, '.', '_' and '-'. Durable subscriptions go on
	// where it stands. One client at a time has it: a newer one closes the older.
	Session string
	// Header is added to the handshake.
	Header http.Header
	// TLS configures wss and https URLs; nil is Go's default.
	TLS *tls.Config
	// Dial opens the network connection; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Backoff between attempts to connect, subscribe and publish.
	Backoff Backoff
	// HandshakeTimeout bounds one attempt to connect, up to the node's `connected`;
	// 0 is 10 s.
	HandshakeTimeout time.Duration
	// ReplyTimeout bounds the wait for one reply, after which a command counts as
	// unanswered and is repeated; 0 is 15 s.
	ReplyTimeout time.Duration
	// MaxFrame bounds a frame from the node in bytes; 0 is 16 MiB.
	MaxFrame int64
	// DedupeWindow is how long the namespaces published to remember an idempotency
	// key; a publish whose outcome is unknown is not repeated after it. 0 is the
	// nodes' default of 2 minutes.
	DedupeWindow time.Duration
	// OnState is called at every change of state, from one goroutine, in order. It
	// must return soon and must not call Close.
	OnState func(StateChange)
	// Logger gets what has no other way to the application; nil discards.
	Logger *slog.Logger
}

// Backoff is exponential with full jitter: before the n-th attempt in a row, a
// random wait from 0 to min(Max, Base * 2^(n-1)).
type Backoff struct {
	Base time.Duration // 0 is 250 ms
	Max  time.Duration // 0 is 20 s
	// Jitter returns a wait from 0 to most; nil is evenly random.
	Jitter func(most time.Duration) time.Duration
}

func (b Backoff) withDefaults() Backoff {
	if b.Base <= 0 {
		b.Base = 250 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 20 * time.Second
	}
	if b.Jitter == nil {
		b.Jitter = func(most time.Duration) time.Duration { return rand.N(most + 1) }
	}
	return b
}

// wait before the attempt after the given number of failures in a row, from 1.
func (b Backoff) wait(failures int, retryAfter time.Duration) time.Duration {
	most := min(b.Base, b.Max)
	for range failures - 1 {
		if most > b.Max/2 {
			most = b.Max
			break
		}
		most *= 2
	}
	return min(retryAfter, maxRetryAfter) + b.Jitter(most)
}

func (o Options) withDefaults() Options {
	o.Backoff = o.Backoff.withDefaults()
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 10 * time.Second
	}
	if o.ReplyTimeout <= 0 {
		o.ReplyTimeout = 15 * time.Second
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = 16 << 20
	}
	if o.DedupeWindow <= 0 {
		o.DedupeWindow = 2 * time.Minute
	}
	if o.Name == "" {
		o.Name = "rivulet-go"
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Header = o.Header.Clone()
	o.URLs = slices.Clone(o.URLs)
	return o
}

// nodeURL reads the address of a node. scheme maps http(s) and ws(s) to the pair
// wanted; path is used where the address has none.
func nodeURL(raw string, socket bool, path string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("rivulet: url %q: %w", raw, errors.Unwrap(err))
	}
	plain, secure := "http", "https"
	if socket {
		plain, secure = "ws", "wss"
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = plain
	case "https", "wss":
		u.Scheme = secure
	default:
		return "", fmt.Errorf("rivulet: url %q: the scheme must be http, https, ws or wss, as in http://127.0.0.1:8080", raw)
	}
	switch {
	case u.Host == "":
		return "", fmt.Errorf("rivulet: url %q has no host", raw)
	case u.User != nil:
		return "", errors.New("rivulet: url: user and password do not belong in it; use Options.Token")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = path
	}
	u.Fragment = ""
	return u.String(), nil
}
