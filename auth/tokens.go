package auth

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxTokenBytes bounds a token before anything of it is decoded.
const MaxTokenBytes = 8 << 10

// tokens verifies JWT. A token goes to the issuer that its "iss" and its algorithm lead
// to, and is verified with that issuer's keys as the issuer is configured: nothing in the
// header but "alg" and "kid" is looked at ("crit" refuses the token; "jwk", "jku", "x5u"
// and "x5c", which bring keys along, mean nothing). "exp" is required, and "iat" where
// lifetimes are bounded; "nbf" and "iat" must not be in the future, "iss" and "aud" are as the issuer's configuration says.
type tokens struct {
	// Static after newTokens.
	parser      *jwt.Parser
	issuers     []*issuer
	maxLifetime time.Duration // 0: any
	iatOptional bool

	mu sync.Mutex // guards the following
	// interned shares capabilities between the claims of many connections: a million
	// users with one "user:${sub}" cost one set, not a million.
	interned map[string]Capabilities
}

// maxInterned bounds how many different sets of capabilities are shared between
// claims. Only signed tokens get in, so a caller cannot fill it at will.
const maxInterned = 1024

// issuer is one that signs tokens.
type issuer struct {
	iss        string // "" takes tokens of any
	algorithms []string
	validator  *jwt.Validator
	leeway     time.Duration
	keys       keySource
	// fallback is what tokens may do that do not say.
	fallback Capabilities
}

// keySource has the keys of one issuer.
type keySource interface {
	// find returns the keys to try, at least one. Errors wrap ErrInvalid or
	// ErrUnavailable. It may wait for them, as long as ctx and a second or two.
	find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error)
}

// find makes a set that does not change a keySource.
func (s *keySet) find(_ context.Context, id, algorithm string) ([]crypto.PublicKey, error) {
	if found := s.candidates(id, algorithm); len(found) > 0 {
		return found, nil
	}
	return nil, errNoKey
}

// errNoKey does not repeat the kid, which is the caller's text.
var errNoKey = invalid("its issuer has no such key (kid)")

// secrets are shared secrets: the one that signs, and perhaps the one before it.
type secrets []crypto.PublicKey

func (s secrets) find(context.Context, string, string) ([]crypto.PublicKey, error) { return s, nil }

func newTokens(issuers []*issuer, maxLifetime time.Duration, iatOptional bool) *tokens {
	var algorithms []string
	for _, i := range issuers {
		algorithms = append(algorithms, i.algorithms...)
	}
	return &tokens{
		parser:      jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
		issuers:     issuers,
		maxLifetime: maxLifetime,
		iatOptional: iatOptional,
		interned:    make(map[string]Capabilities),
	}
}

func newValidator(iss, audience string, leeway time.Duration) *jwt.Validator {
	opts := []jwt.ParserOption{jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway)}
	if iss != "" {
		opts = append(opts, jwt.WithIssuer(iss))
	}
	if audience != "" {
		opts = append(opts, jwt.WithAudience(audience))
	}
	return jwt.NewValidator(opts...)
}

// authenticate verifies a token and reads its claims. Errors wrap ErrInvalid, ErrExpired
// or ErrUnavailable.
func (t *tokens) authenticate(ctx context.Context, token string) (Claims, error) {
	if strings.ContainsAny(token, "\r\n") { // base64 skips them: one signature would have many spellings
		return Claims{}, translate(jwt.ErrTokenMalformed)
	}
	var payload tokenPayload
	var from *issuer
	var why error // what key has refused it for
	_, err := t.parser.ParseWithClaims(token, &payload, func(parsed *jwt.Token) (any, error) {
		var keys []crypto.PublicKey
		if from, keys, why = t.key(ctx, parsed.Header, payload.Issuer); why != nil {
			return nil, why
		}
		set := jwt.VerificationKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, k)
		}
		return set, nil
	})
	switch {
	case why != nil:
		return Claims{}, why
	case err != nil:
		return Claims{}, translate(err)
	}
	if err := from.validator.Validate(&payload); err != nil {
		return Claims{}, translate(err)
	}
	return t.claims(&payload, from)
}

// key finds whose a token is, and the keys that may have signed it.
func (t *tokens) key(ctx context.Context, header map[string]any, iss string) (*issuer, []crypto.PublicKey, error) {
	if _, ok := header["crit"]; ok { // RFC 7515: extensions that must be understood, and none is
		return nil, nil, invalid("crit: the signature has extensions that are not known here")
	}
	algorithm, _ := header["alg"].(string)
	id, named := header["kid"].(string)
	if raw, ok := header["kid"]; ok && raw != nil && !named || len(id) > maxKeyID {
		return nil, nil, invalid("kid: must be a text of at most %d bytes", maxKeyID)
	}
	from, err := t.issuer(algorithm, iss)
	if err != nil {
		return nil, nil, err
	}
	keys, err := from.keys.find(ctx, id, algorithm)
	return from, keys, err
}

// issuer is the one that a token names, or the one that is configured without a name.
func (t *tokens) issuer(algorithm, iss string) (*issuer, error) {
	var found *issuer
	known := false
	for _, i := range t.issuers {
		switch known = known || i.iss == iss && iss != ""; {
		case !slices.Contains(i.algorithms, algorithm):
		case i.iss == iss && iss != "":
			return i, nil
		case i.iss == "":
			found = i
		}
	}
	switch {
	case known: // a token of a known issuer is not one of an unknown issuer
		return nil, errAlgorithm
	case found != nil:
		return found, nil
	}
	return nil, errIssuer
}

var (
	errAlgorithm = invalid("the signature or its algorithm is not the expected one")
	errIssuer    = invalid("iss is not the expected one")
)

// translate keeps the library's texts, which repeat parts of the token, out of errors.
func translate(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return invalid("not a JWT of the expected form")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return errAlgorithm
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		for _, claim := range []string{"exp", "iss", "aud"} {
			if strings.Contains(err.Error(), claim+" claim is required") {
				return invalid("%s is missing", claim)
			}
		}
		return invalid("a claim is missing")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return errIssuer
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("aud is not the expected one")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("nbf: not valid yet")
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return invalid("iat: is in the future; check the clocks, or raise the leeway")
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	}
	return invalid("claims of the wrong form")
}
