package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// MaxTokenBytes bounds a token before anything of it is decoded.
const MaxTokenBytes = 8 << 10

// maxInterned bounds how many different sets of capabilities are shared between
// claims. Only signed tokens get in, so a caller cannot fill it at will.
const maxInterned = 1024

// HMAC verifies JWT signed with a shared secret. The algorithm is the configured
// one, whatever the token's header says. "exp" is required, "nbf", "sub" and
// "caps" (capabilities by pattern; without it nothing is allowed) and "info" (of the
// user, see Claims.Info) are honoured, and "iss" and "aud" where the configuration names them. Claim names are
// matched exactly, case included, and other claims are ignored.
type HMAC struct {
	// Static after NewHMAC.
	secret []byte
	leeway time.Duration
	parser *jwt.Parser

	mu sync.Mutex // guards the following
	// interned shares capabilities between the claims of many connections: a million
	// users with one "user:${sub}" cost one set, not a million.
	interned map[string]Capabilities
}

// NewHMAC builds the verifier; the errors are those of HMACConfig.Validate.
func NewHMAC(cfg HMACConfig) (*HMAC, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{cfg.algorithm()}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		opts = append(opts, jwt.WithAudience(cfg.Audience))
	}
	return &HMAC{
		secret:   []byte(cfg.Secret.Reveal()),
		leeway:   cfg.Leeway,
		parser:   jwt.NewParser(opts...),
		interned: make(map[string]Capabilities),
	}, nil
}

// Authenticate verifies token. Errors wrap ErrMissing, ErrInvalid or ErrExpired.
func (h *HMAC) Authenticate(_ context.Context, token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, ErrMissing
	case len(token) > MaxTokenBytes:
		return Claims{}, invalid("over %d bytes", MaxTokenBytes)
	}
	var payload tokenPayload
	if _, err := h.parser.ParseWithClaims(token, &payload, h.key); err != nil {
		return Claims{}, translate(err)
	}
	if err := checkSubject(payload.Subject); err != nil {
		return Claims{}, invalid("sub: %v", err)
	}
	caps, err := h.capabilities(payload.caps)
	if err != nil {
		return Claims{}, invalid("caps: %v", err)
	}
	info, err := compactInfo(payload.info)
	if err != nil {
		return Claims{}, invalid("info: %v", err)
	}
	return Claims{
		Subject:      payload.Subject,
		ExpiresAt:    payload.ExpiresAt.Add(h.leeway),
		Capabilities: caps,
		Info:         info,
	}, nil
}

func (h *HMAC) key(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok { // RFC 7515: extensions that must be understood, and none is
		return nil, jwt.ErrTokenUnverifiable
	}
	return h.secret, nil
}

func (h *HMAC) capabilities(raw []byte) (Capabilities, error) {
	h.mu.Lock()
	caps, ok := h.interned[string(raw)]
	h.mu.Unlock()
	if ok {
		return caps, nil
	}
	var byPattern map[string][]Action
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &byPattern); err != nil {
			return Capabilities{}, errors.New(`must be an object like {"chat:>": ["subscribe"]}`)
		}
	}
	caps, err := newCapabilities(byPattern, false)
	if err != nil {
		return Capabilities{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.interned) >= maxInterned {
		clear(h.interned)
	}
	h.interned[string(raw)] = caps
	return caps, nil
}

// translate keeps the library's texts, which repeat parts of the token, out of errors.
func translate(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("not a JWT of the expected form")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return invalid("the signature or its algorithm is not the expected one")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("exp, or a required iss or aud, is missing")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return invalid("iss is not the expected one")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("aud is not the expected one")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("nbf: not valid yet")
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	}
	return invalid("claims of the wrong form")
}

func checkSubject(sub string) error {
	if len(sub) > MaxSubjectBytes {
		return fmt.Errorf("over %d bytes", MaxSubjectBytes)
	}
	if !plainText(sub) {
		return errors.New("must be UTF-8 without control characters")
	}
	return nil
}

// maxInfoDepth bounds the nesting of the claim "info": wrapped in lists of members and
// those in events, it stays far below what decoders take.
const maxInfoDepth = 16

// compactInfo is the claim "info" without white space.
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

// tokenPayload is the claims part of a token.
type tokenPayload struct {
	jwt.RegisteredClaims

	caps, info []byte
}

// UnmarshalJSON matches names exactly, where encoding/json would take "Caps" for
// "caps": an application that copies fields of a user's profile into the token
// must not thereby let the user choose capabilities.
func (p *tokenPayload) UnmarshalJSON(b []byte) error {
	if !utf8.Valid(b) { // the decoder would make two different subjects equal
		return errors.New("claims are not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	for name, into := range map[string]any{
		"sub": &p.Subject, "iss": &p.Issuer, "aud": &p.Audience,
		"exp": &p.ExpiresAt, "nbf": &p.NotBefore,
	} {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return err
			}
		}
	}
	if raw, ok := fields["caps"]; ok && string(raw) != "null" {
		p.caps = raw
	}
	if raw, ok := fields["info"]; ok && string(raw) != "null" {
		p.info = raw
	}
	return nil
}

// Mint signs a token for claims, which need an ExpiresAt. Capabilities must have
// been made by this package.
func Mint(cfg HMACConfig, c Claims) (string, error) {
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	if err := checkSubject(c.Subject); err != nil {
		return "", fmt.Errorf("auth: mint: subject: %w", err)
	}
	if c.ExpiresAt.IsZero() {
		return "", errors.New("auth: mint: ExpiresAt is missing; every token must expire")
	}
	m := jwt.MapClaims{
		"iat":  time.Now().Unix(),
		"exp":  c.ExpiresAt.Unix(),
		"caps": c.Capabilities,
	}
	for name, value := range map[string]string{"sub": c.Subject, "iss": cfg.Issuer, "aud": cfg.Audience} {
		if value != "" {
			m[name] = value
		}
	}
	if c.Info != "" {
		info, err := compactInfo([]byte(c.Info))
		if err != nil {
			return "", fmt.Errorf("auth: mint: info: %w", err)
		}
		m["info"] = json.RawMessage(info)
	}
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(cfg.algorithm()), m).SignedString([]byte(cfg.Secret.Reveal()))
	if err != nil {
		return "", fmt.Errorf("auth: mint: %w", err)
	}
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("auth: mint: the token has %d bytes, at most %d are accepted; use fewer patterns", len(token), MaxTokenBytes)
	}
	return token, nil
}
