package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// claims reads what a token that was verified says. Errors wrap ErrInvalid and begin with
// the claim at fault.
func (t *tokens) claims(p *tokenPayload, from *issuer) (Claims, error) {
	c := Claims{Subject: p.Subject, TokenID: p.ID, ExpiresAt: p.ExpiresAt.Add(from.leeway)}
	if p.IssuedAt != nil {
		c.IssuedAt = p.IssuedAt.Time
	}
	for _, read := range []struct {
		claim string
		from  func(*Claims) error
	}{
		{"sub", func(c *Claims) error { return checkText(c.Subject) }},
		{"jti", func(c *Claims) error { return checkText(c.TokenID) }},
		{"iat", func(*Claims) error { return t.checkIssued(p) }},
		{"exp", func(*Claims) error { return t.checkLifetime(p) }},
		{"channel", p.readChannel},
		{"caps", func(c *Claims) error { return t.readCaps(c, p, from) }},
		{"meta", p.readMeta},
		{"channels", p.readChannels},
		{"limits", p.readLimits},
	} {
		if err := read.from(&c); err != nil {
			return Claims{}, invalid("%s: %v", read.claim, err)
		}
	}
	return c, nil
}

// checkIssued refuses a token that does not say when it was issued. One that was made for
// a month would be good on its last day, when its revocation has long been forgotten, and
// nothing could tell it from one that was made that day, after the user logged in again.
func (t *tokens) checkIssued(p *tokenPayload) error {
	if p.IssuedAt == nil && t.maxLifetime > 0 && !t.iatOptional {
		return errors.New("is missing; have the issuer say when it made the token, or the token could outlive its revocation")
	}
	return nil
}

// checkLifetime refuses a token that would outlive its revocation. Of one that does not
// say when it was issued, the time that is left is all that is known.
func (t *tokens) checkLifetime(p *tokenPayload) error {
	begin := time.Now()
	if p.IssuedAt != nil {
		begin = p.IssuedAt.Time
	}
	if life := p.ExpiresAt.Sub(begin); t.maxLifetime > 0 && life > t.maxLifetime {
		return fmt.Errorf("the token lives for %v, at most %v are allowed (auth.max_token_lifetime)", life.Round(time.Second), t.maxLifetime)
	}
	return nil
}

func (t *tokens) readCaps(c *Claims, p *tokenPayload, from *issuer) (err error) {
	if c.Channel != "" {
		if p.caps != nil {
			return errors.New("do not go together with channel, which makes it a token for one subscription; use actions")
		}
		return nil
	}
	if p.caps == nil {
		c.Capabilities = from.fallback
		return nil
	}
	c.Capabilities, err = t.capabilities(p.caps)
	return err
}

func (t *tokens) capabilities(raw []byte) (Capabilities, error) {
	t.mu.Lock()
	caps, ok := t.interned[string(raw)]
	t.mu.Unlock()
	if ok {
		return caps, nil
	}
	var byPattern map[string][]Action
	if err := json.Unmarshal(raw, &byPattern); err != nil {
		return Capabilities{}, errors.New(`must be an object like {"chat:>": ["subscribe"]}`)
	}
	caps, err := newCapabilities(byPattern, false)
	if err != nil {
		return Capabilities{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.interned) >= maxInterned {
		clear(t.interned)
	}
	t.interned[string(raw)] = caps
	return caps, nil
}

// readChannel makes the claims those of a subscription token: they allow its actions on
// its channel, and nothing else.
func (p *tokenPayload) readChannel(c *Claims) error {
	if p.channel == nil {
		if p.actions != nil {
			return errors.New("is missing, and actions says what may be done there")
		}
		return nil
	}
	var name string
	if err := json.Unmarshal(p.channel, &name); err != nil {
		return errors.New("must be a text, the channel that may be subscribed to")
	}
	actions := []Action{Subscribe}
	if p.actions != nil {
		if err := json.Unmarshal(p.actions, &actions); err != nil {
			return errors.New(`actions must be a list like ["subscribe","history"]`)
		}
	}
	return c.onlyOn(name, actions)
}

// onlyOn restricts claims to one channel or pattern.
func (c *Claims) onlyOn(name string, actions []Action) error {
	r, err := parseRule(name)
	switch {
	case err != nil:
		return err
	case strings.Contains(r.name, "${") || r.namespace == "*":
		return errors.New("must be one channel or pattern of one namespace, without variables")
	case !slices.Contains(actions, Subscribe):
		return errors.New("actions must have subscribe in it")
	}
	for _, a := range actions {
		if a != Subscribe && a != History && a != Presence {
			return fmt.Errorf("actions: %q is not one of subscribe, history, presence", clip(string(a)))
		}
		r.actions |= actionBit(a)
	}
	c.Channel = r.namespace + ":" + r.name
	c.Capabilities = Capabilities{&capabilitySet{rules: []rule{r}}}
	return nil
}

// readMeta takes what is told of the user, under its older name too.
func (p *tokenPayload) readMeta(c *Claims) (err error) {
	raw := p.meta
	switch {
	case p.meta != nil && p.info != nil:
		return errors.New("info is its older name; give one of them")
	case raw == nil:
		raw = p.info
	}
	c.Info, err = compactInfo(raw)
	return err
}

// readChannels takes the channels to subscribe to when connected.
func (p *tokenPayload) readChannels(c *Claims) error {
	if p.channels == nil {
		return nil
	}
	if c.Channel != "" {
		return errors.New("do not go together with channel")
	}
	var list []string
	if err := json.Unmarshal(p.channels, &list); err != nil {
		return errors.New(`must be a list like ["chat:lobby"]`)
	}
	return c.subscribeTo(list)
}

// subscribeTo sets Channels, in which ${sub} stands for the subject.
func (c *Claims) subscribeTo(list []string) error {
	if len(list) > MaxTokenChannels {
		return fmt.Errorf("are %d, at most %d are allowed", len(list), MaxTokenChannels)
	}
	for _, name := range list {
		r, err := parseRule(name)
		switch {
		case err != nil:
			return err
		case r.namespace == "*":
			return fmt.Errorf("%q: must name its namespace", clip(name))
		case r.sub && !literalSegment(c.Subject):
			return fmt.Errorf("%q: the token's sub is no segment of a channel", clip(name))
		}
		channel := r.namespace + ":" + strings.ReplaceAll(r.name, subVariable, c.Subject)
		if !c.Allows(Subscribe, channel) {
			return fmt.Errorf("%q: caps does not allow subscribe on it", clip(name))
		}
		if !slices.Contains(c.Channels, channel) {
			c.Channels = append(c.Channels, channel)
		}
	}
	return nil
}

// limitClaims are Limits as tokens have them.
type limitClaims struct {
	Subscriptions *int   `json:"subscriptions,omitempty"`
	Commands      *int   `json:"commands,omitempty"`
	Publishes     *int   `json:"publishes,omitempty"`
	OutboundBytes *int64 `json:"outbound_bytes,omitempty"`
}

// readLimits takes limits. What is not known is refused: a limit that is misspelled
// would not hold.
func (p *tokenPayload) readLimits(c *Claims) error {
	if p.limits == nil {
		return nil
	}
	var l limitClaims
	d := json.NewDecoder(bytes.NewReader(p.limits))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return errors.New(`must be an object like {"subscriptions": 10} with subscriptions, commands, publishes and outbound_bytes, whole numbers`)
	}
	for _, f := range []struct {
		name string
		from *int
		into *int
	}{
		{"subscriptions", l.Subscriptions, &c.Limits.Subscriptions},
		{"commands", l.Commands, &c.Limits.Commands},
		{"publishes", l.Publishes, &c.Limits.Publishes},
	} {
		if f.from != nil {
			if *f.from < 1 || *f.from > math.MaxInt32 {
				return fmt.Errorf("%s must be from 1 to %d", f.name, math.MaxInt32)
			}
			*f.into = *f.from
		}
	}
	if n := l.OutboundBytes; n != nil {
		if *n < 1 || *n > maxOutbound {
			return fmt.Errorf("outbound_bytes must be from 1 to %d", int64(maxOutbound))
		}
		c.Limits.OutboundBytes = *n
	}
	return nil
}

const maxOutbound = 1 << 50

// checkText checks a subject or a token's ID.
func checkText(s string) error {
	if len(s) > MaxSubjectBytes {
		return fmt.Errorf("over %d bytes", MaxSubjectBytes)
	}
	if !plainText(s) {
		return errors.New("must be UTF-8 without control characters")
	}
	return nil
}

func unixSeconds(seconds float64) time.Time {
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9))
}

// maxInfoDepth bounds the nesting of the claim "meta": wrapped in lists of members and
// those in events, it stays far below what decoders take.
const maxInfoDepth = 16

// compactInfo is the claim "meta" without white space.
func compactInfo(raw []byte) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil { // it was decoded before
		return "", errors.New("is not JSON")
	}
	if b.Len() > MaxInfoBytes {
		return "", fmt.Errorf("has %d bytes, at most %d are allowed", b.Len(), MaxInfoBytes)
	}
	depth, text := 0, false
	for i, c := range b.Bytes() {
		switch {
		case c == '"' && !escaped(b.Bytes()[:i]):
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > maxInfoDepth {
				return "", fmt.Errorf("is nested deeper than %d", maxInfoDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return b.String(), nil
}

// escaped reports whether what follows b in a JSON text is escaped.
func escaped(b []byte) bool {
	n := len(b)
	for n > 0 && b[n-1] == '\\' {
		n--
	}
	return (len(b)-n)%2 == 1
}
