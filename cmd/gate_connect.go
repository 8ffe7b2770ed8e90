package cmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// askedConnect is the question of the connect hook.
type askedConnect struct {
	ID      string            `json:"id"`
	Type    string            `json:"type"`
	Token   string            `json:"token,omitempty"` // only instead of checking it
	User    string            `json:"user"`
	Key     string            `json:"key,omitempty"`
	Info    json.RawMessage   `json:"meta,omitempty"`
	Addr    string            `json:"address"`
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// givenClaims are what the answer says of the caller; what it leaves out stays.
type givenClaims struct {
	Sub       *string         `json:"sub"`
	Caps      json.RawMessage `json:"caps"`
	Meta      json.RawMessage `json:"meta"`
	Channels  []string        `json:"channels"`
	ExpiresIn json.RawMessage `json:"expires_in_ms"`

	caps map[string][]auth.Action // of Caps, nil without them
}

// readClaims is strict: what is not understood would leave the caller more than the hook
// meant to give.
func readClaims(text json.RawMessage) (given givenClaims, err error) {
	if len(text) == 0 {
		return given, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&given); err != nil {
		return given, fmt.Errorf("claims: %w; the fields are sub, caps, meta, channels and expires_in_ms", err)
	}
	switch {
	case len(given.Caps) == 0:
		return given, nil
	case string(given.Caps) == "null":
		return given, errors.New("claims.caps: must not be null; {} allows nothing, and without the field all stays as it was")
	}
	if err := json.Unmarshal(given.Caps, &given.caps); err != nil {
		return given, fmt.Errorf("claims.caps: %w", err)
	}
	return given, nil
}

// mostExpiry bounds what a hook says of an end, so that a time can hold it.
const mostExpiry = int64(365 * 24 * time.Hour / time.Millisecond)

// ends is when the claims end that the hook gave at a time, zero where it does not say. No
// time at all is auth.ErrExpired, and one that is over by now errOver.
func (given givenClaims) ends(at time.Time) (time.Time, error) {
	if len(given.ExpiresIn) == 0 {
		return time.Time{}, nil
	}
	var in *int64
	if err := json.Unmarshal(given.ExpiresIn, &in); err != nil || in == nil {
		return time.Time{}, errors.New("claims.expires_in_ms: must be a whole number; leave it out where the hook sets no end")
	}
	if *in <= 0 {
		return time.Time{}, fmt.Errorf("%w: the connect hook gives it no more time", auth.ErrExpired)
	}
	ends := at.Add(time.Duration(min(*in, mostExpiry)) * time.Millisecond)
	if !time.Now().Before(ends) {
		return time.Time{}, errOver
	}
	return ends, nil
}

// Authenticate implements session.ConnectGate.
func (g *connectGate) Authenticate(ctx context.Context, token string, from session.Peer) (auth.Claims, error) {
	q := askedConnect{
		ID: rand.Text(), Type: "connect", Addr: from.Addr, Name: from.Name, Version: from.Version, Headers: from.Headers,
	}
	var claims auth.Claims
	var err error
	if g.instead {
		if token == "" && len(from.Headers) == 0 {
			return claims, auth.ErrMissing
		}
		q.Token = token
	} else {
		if claims, err = g.verifier.Authenticate(ctx, token); err != nil {
			return claims, err
		}
		q.User, q.Key, q.Info = claims.Subject, claims.Key, json.RawMessage(claims.Info)
	}
	key := []string{claims.Publisher(), token}
	for _, name := range g.headers {
		key = append(key, from.Headers[name])
	}
	verdicts, err := g.hook.Ask(ctx, hook.Question{Caller: stranger(claims, from), Body: q, Keys: []string{hook.KeyOf(key...)}})
	if err != nil {
		return auth.Claims{}, err
	}
	if err := denial(verdicts[0]); err != nil {
		return auth.Claims{}, err
	}
	if g.instead {
		claims.IssuedAt = verdicts[0].At // by the hook: a revocation is of what was before
	}
	claims, err = g.apply(claims, verdicts[0].Claims, verdicts[0].At)
	switch {
	case errors.Is(err, auth.ErrExpired):
		return auth.Claims{}, err
	case errors.Is(err, errOver):
		return auth.Claims{}, hook.ErrUnavailable
	case err != nil:
		g.log.Warn("the connect hook gave claims that cannot be taken", slog.Any("err", err))
		return auth.Claims{}, hook.ErrUnavailable
	}
	return claims, nil
}

// errOver is an answer that is given again when what it allowed has ended.
var errOver = errors.New("claims.expires_in_ms: are over")

// stranger is whose question it is, where the token does not say: one line's addresses are
// one caller.
func stranger(claims auth.Claims, from session.Peer) string {
	if claims.Subject != "" || claims.Key != "" {
		return claims.Publisher()
	}
	addr, err := netip.ParseAddr(from.Addr)
	if err != nil {
		return "address:" + from.Addr
	}
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	line, _ := addr.WithZone("").Prefix(bits) // fails only for other numbers of bits
	return "address:" + line.String()
}

// apply gives the claims what the hook said at a time, within what the token has and the
// configuration grants.
func (g *connectGate) apply(claims auth.Claims, text json.RawMessage, at time.Time) (auth.Claims, error) {
	given, err := readClaims(text)
	if err != nil {
		return claims, err
	}
	if given.Sub != nil && *given.Sub != claims.Subject {
		if claims.Subject != "" || claims.Key != "" {
			return claims, errors.New("claims.sub: the token names another user already")
		}
		if !validSubject(*given.Sub) {
			return claims, fmt.Errorf("claims.sub: must be UTF-8 of at most %d bytes without control characters", auth.MaxSubjectBytes)
		}
		claims.Subject = *given.Sub
	}
	if len(given.Meta) > 0 && string(given.Meta) != "null" {
		var b bytes.Buffer
		if err := json.Compact(&b, given.Meta); err != nil || b.Len() > auth.MaxInfoBytes {
			return claims, fmt.Errorf("claims.meta: must be JSON of at most %d bytes", auth.MaxInfoBytes)
		}
		claims.Info = b.String()
	}
	ends, err := given.ends(at)
	if err != nil {
		return claims, err
	}
	if !ends.IsZero() && (claims.ExpiresAt.IsZero() || ends.Before(claims.ExpiresAt)) {
		claims.ExpiresAt = ends
	}
	if claims, err = g.capable(claims, given.caps); err != nil {
		return claims, err
	}
	if given.Channels == nil {
		claims.Channels = slices.DeleteFunc(slices.Clone(claims.Channels), func(c string) bool {
			return !claims.Allows(auth.Subscribe, c)
		})
		return claims, nil
	}
	claims.Channels, err = coveredChannels(claims, given.Channels)
	return claims, err
}

// coveredChannels are the canonical names of channels that are subscribed to at once, as
// those of a token are.
func coveredChannels(claims auth.Claims, names []string) ([]string, error) {
	if len(names) > auth.MaxTokenChannels {
		return nil, fmt.Errorf("claims.channels: has %d, at most %d are allowed", len(names), auth.MaxTokenChannels)
	}
	var list []string
	for _, name := range names {
		c, err := fanout.ParsePattern(name)
		if err != nil {
			return nil, fmt.Errorf("claims.channels: %w", err)
		}
		if !claims.Allows(auth.Subscribe, c.String()) {
			return nil, fmt.Errorf("claims.channels: %s is not covered by the capabilities", c)
		}
		if !slices.Contains(list, c.String()) {
			list = append(list, c.String())
		}
	}
	return list, nil
}

// capable replaces the capabilities by those of caps that the claims or the grants cover.
// Without caps those of the token stay; where there is none, they are the grants.
func (g *connectGate) capable(claims auth.Claims, caps map[string][]auth.Action) (auth.Claims, error) {
	if caps == nil {
		if g.instead {
			claims.Capabilities = g.grants
		}
		return claims, nil
	}
	kept := map[string][]auth.Action{}
	for pattern, actions := range caps {
		concrete := pattern
		if strings.Contains(pattern, "${sub}") {
			if claims.Subject == "" || strings.ContainsAny(claims.Subject, ".*>:$") {
				g.leftOut(pattern, "the user's name cannot stand for ${sub}")
				continue
			}
			concrete = strings.ReplaceAll(pattern, "${sub}", claims.Subject)
		}
		if !strings.Contains(concrete, ":") {
			concrete = "default:" + concrete
		}
		if _, err := auth.NewCapabilities(map[string][]auth.Action{concrete: auth.Actions()}); err != nil {
			// The pattern itself, which the error begins with, may be a user's name.
			g.leftOut(concrete, "it is no pattern: "+err.Error()[strings.LastIndex(err.Error(), `": `)+len(`": `):])
			continue
		}
		for _, a := range actions {
			switch {
			case !slices.Contains(auth.Actions(), a):
				g.leftOut(concrete, fmt.Sprintf("there is no action %.32q", a))
			case claims.Allows(a, concrete) || g.grants.Allows(a, concrete, claims.Subject):
				kept[concrete] = append(kept[concrete], a)
			default:
				g.leftOut(concrete, string(a)+" is covered by neither the token nor auth.connect_hook.grants")
			}
		}
	}
	var err error
	if claims.Capabilities, err = auth.NewCapabilities(kept); err != nil {
		return claims, fmt.Errorf("claims.caps: %w", err)
	}
	return claims, nil
}

// leftOutEvery is how often the log says that capabilities were left out.
const leftOutEvery = time.Minute

// leftOut tells an operator, once in a while, what of the hook's capabilities does not
// count. Of the pattern the namespace is logged: its name may be a user's.
func (g *connectGate) leftOut(pattern, why string) {
	now := time.Now().UnixNano()
	told := g.told.Load()
	if told != 0 && now-told < int64(leftOutEvery) || !g.told.CompareAndSwap(told, now) {
		return
	}
	namespace, _, _ := strings.Cut(pattern, ":")
	g.log.Warn("the connect hook gave capabilities that do not count", slog.String("namespace", namespace), slog.String("why", why))
}

func validSubject(s string) bool {
	return len(s) <= auth.MaxSubjectBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
