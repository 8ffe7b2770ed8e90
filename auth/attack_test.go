package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rivulet-rt/rivulet/auth"
)

// pair is a key of an issuer.
type pair struct {
	private crypto.Signer
	pem     []byte // of the public key
}

func newPair(private crypto.Signer, err error) pair {
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return pair{private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

func newEC(curve elliptic.Curve) pair { return newPair(ecdsa.GenerateKey(curve, rand.Reader)) }

func newRSA(bits int) pair { return newPair(rsa.GenerateKey(rand.Reader, bits)) }

// rsaKey is made once: making one takes a while.
var rsaKey = sync.OnceValue(func() pair { return newRSA(2048) })

func newEd() pair {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return newPair(private, err)
}

// signed makes a token of raw JSON parts.
func signed(tb testing.TB, alg, header, payload string, key any) string {
	tb.Helper()
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload))
	sig, err := jwt.GetSigningMethod(alg).Sign(text, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + enc.EncodeToString(sig)
}

func issuer(algorithms ...string) auth.IssuerConfig {
	return auth.IssuerConfig{Name: "idp", Issuer: "https://idp.example", Audience: "rivulet", Algorithms: algorithms, Leeway: 10 * time.Second}
}

func newVerifier(tb testing.TB, cfg auth.Config) *auth.Verifier {
	tb.Helper()
	v, err := auth.New(cfg, auth.Services{})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func jwks(tb testing.TB, keys ...jose.JSONWebKey) []byte {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// payload of a good token, with further claims.
func payload(more string) string {
	return fmt.Sprintf(`{"sub":"ann","iss":"https://idp.example","aud":["other","rivulet"],"iat":%d,"exp":%d,"caps":{"chat:>":["subscribe"]}%s}`,
		issued(), future(), more)
}

// TestAlgorithms: each family verifies what its own key has signed.
func TestAlgorithms(t *testing.T) {
	for _, tc := range []struct {
		alg string
		key pair
	}{
		{"RS256", rsaKey()},
		{"RS384", rsaKey()},
		{"RS512", rsaKey()},
		{"PS256", rsaKey()},
		{"PS384", rsaKey()},
		{"PS512", rsaKey()},
		{"ES256", newEC(elliptic.P256())},
		{"ES384", newEC(elliptic.P384())},
		{"ES512", newEC(elliptic.P521())},
		{"EdDSA", newEd()},
	} {
		t.Run(tc.alg, func(t *testing.T) {
			der, err := x509.MarshalPKCS8PrivateKey(tc.key.private)
			if err != nil {
				t.Fatal(err)
			}
			private, err := auth.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			if err != nil {
				t.Fatal(err)
			}
			exp := time.Now().Add(time.Hour).Truncate(time.Second)
			token, err := auth.Signer{Algorithm: tc.alg, Key: private, KeyID: "k1", Issuer: "https://idp.example", Audience: "rivulet"}.Mint(auth.Claims{
				Subject: "ann", TokenID: "t1", ExpiresAt: exp, Capabilities: mustCaps(t, map[string][]auth.Action{"chat:>": {auth.Subscribe}}),
				Info: `{"a":1}`, Channels: []string{"chat:a"}, Limits: auth.Limits{Subscriptions: 3, OutboundBytes: 1 << 20},
			})
			if err != nil {
				t.Fatal(err)
			}
			for source, set := range map[string]func(*auth.IssuerConfig){
				"PEM": func(c *auth.IssuerConfig) { c.PublicKeys = tc.key.pem },
				"JWKS": func(c *auth.IssuerConfig) {
					c.JWKS = jwks(t, jose.JSONWebKey{Key: tc.key.private.Public(), KeyID: "k1"})
				},
			} {
				cfg := issuer(tc.alg)
				set(&cfg)
				c, err := newVerifier(t, auth.Config{Tokens: []auth.IssuerConfig{cfg}}).Authenticate(t.Context(), token)
				if err != nil {
					t.Fatalf("%s: %v", source, err)
				}
				if c.Subject != "ann" || c.TokenID != "t1" || c.Info != `{"a":1}` || len(c.Channels) != 1 || c.Channels[0] != "chat:a" ||
					c.Limits != (auth.Limits{Subscriptions: 3, OutboundBytes: 1 << 20}) || !c.ExpiresAt.Equal(exp.Add(10*time.Second)) ||
					time.Since(c.IssuedAt) > time.Minute || !c.Allows(auth.Subscribe, "chat:x") {
					t.Errorf("%s: claims %+v", source, c)
				}
			}
		})
	}
}

// TestAttacks: what an attacker can make of a token, knowing all that is public.
func TestAttacks(t *testing.T) {
	key, other, stranger := rsaKey(), newEC(elliptic.P256()), newEC(elliptic.P256())
	es := issuer("ES256")
	es.Name, es.Issuer, es.PublicKeys = "es", "https://es.example", other.pem
	rs := issuer("RS256")
	rs.JWKS = jwks(t, jose.JSONWebKey{Key: key.private.Public(), KeyID: "k1"})
	hmac := hmacConfig()
	hmac.Issuer = "app"
	v := newVerifier(t, auth.Config{HMAC: hmac, Tokens: []auth.IssuerConfig{rs, es}, MaxTokenLifetime: 24 * time.Hour})
	der, _ := x509.MarshalPKIXPublicKey(key.private.Public())
	jwk, _ := json.Marshal(jose.JSONWebKey{Key: stranger.private.Public()})
	header := func(more string) string { return `{"alg":"RS256","kid":"k1"` + more + `}` }
	rsa := func(header, payload string) string { return signed(t, "RS256", header, payload, key.private) }
	asHMAC := func(alg string, secret []byte, payload string) string {
		return signed(t, alg, `{"alg":"`+alg+`","kid":"k1"}`, payload, secret)
	}
	claims := func(more string) string { return rsa(header(""), payload(more)) }
	swap := func(old, with string) string { return rsa(header(""), strings.Replace(payload(""), old, with, 1)) }
	exp, iat := fmt.Sprintf(`"exp":%d`, future()), fmt.Sprintf(`"iat":%d`, issued())
	b64 := base64.RawURLEncoding.EncodeToString
	if _, err := v.Authenticate(t.Context(), claims("")); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	for _, tc := range []struct {
		name, token string
		want        error
		says        string
	}{
		{"alg none", b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(payload(""))) + ".", auth.ErrInvalid, "algorithm"},
		{"alg None", b64([]byte(`{"alg":"None"}`)) + "." + b64([]byte(payload(""))) + ".", auth.ErrInvalid, "algorithm"},
		{"alg empty", b64([]byte(`{"alg":""}`)) + "." + b64([]byte(payload(""))) + ".", auth.ErrInvalid, "algorithm"},
		{"alg a list", b64([]byte(`{"alg":["RS256"]}`)) + "." + b64([]byte(payload(""))) + ".", auth.ErrInvalid, "algorithm"},
		{"public key as secret, PEM", asHMAC("HS256", key.pem, payload("")), auth.ErrInvalid, "algorithm"},
		{"public key as secret, DER", asHMAC("HS256", der, payload("")), auth.ErrInvalid, "algorithm"},
		{"public key as secret, of no issuer", asHMAC("HS256", key.pem, strings.Replace(payload(""), `"iss"`, `"x"`, 1)), auth.ErrInvalid, "iss"},
		{"public key as secret, of the issuer with a secret", asHMAC("HS256", key.pem, strings.Replace(payload(""), `https://idp.example`, `app`, 1)), auth.ErrInvalid, "signature"},
		{"the other issuer's key", signed(t, "ES256", `{"alg":"ES256","kid":"k1"}`, payload(""), other.private), auth.ErrInvalid, "algorithm"},
		{"PS256 with the key for RS256", signed(t, "PS256", `{"alg":"PS256","kid":"k1"}`, payload(""), key.private), auth.ErrInvalid, "algorithm"},
		{"RS512 with the key for RS256", signed(t, "RS512", `{"alg":"RS512","kid":"k1"}`, payload(""), key.private), auth.ErrInvalid, "algorithm"},
		{"stranger's key for the other issuer", signed(t, "ES256", `{"alg":"ES256"}`, strings.Replace(payload(""), "idp", "es", 1), stranger.private), auth.ErrInvalid, "signature"},
		{"zero ECDSA signature", b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(strings.Replace(payload(""), "idp", "es", 1))) + "." + b64(make([]byte, 64)), auth.ErrInvalid, "signature"},
		{"jwk in the header", signed(t, "ES256", `{"alg":"ES256","jwk":`+string(jwk)+`}`, strings.Replace(payload(""), "idp", "es", 1), stranger.private), auth.ErrInvalid, "signature"},
		{"jku in the header", signed(t, "ES256", `{"alg":"ES256","jku":"http://127.0.0.1:1/k","x5u":"http://127.0.0.1:1/c","x5c":["AA"]}`, strings.Replace(payload(""), "idp", "es", 1), stranger.private), auth.ErrInvalid, "signature"},
		{"kid of a path", rsa(`{"alg":"RS256","kid":"../../../../dev/null"}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid of a URL", rsa(`{"alg":"RS256","kid":"http://127.0.0.1/k"}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid of a query", rsa(`{"alg":"RS256","kid":"k1' OR '1'='1"}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid with a zero byte", rsa(`{"alg":"RS256","kid":"k1\u0000"}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid in another case", rsa(`{"alg":"RS256","kid":"K1"}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid a number", rsa(`{"alg":"RS256","kid":1}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid an object", rsa(`{"alg":"RS256","kid":{"$ne":""}}`, payload("")), auth.ErrInvalid, "kid"},
		{"kid too long", rsa(`{"alg":"RS256","kid":"`+strings.Repeat("k", 256)+`"}`, payload("")), auth.ErrInvalid, "kid"},
		{"crit", rsa(header(`,"crit":["exp"]`), payload("")), auth.ErrInvalid, "crit"},
		{"crit empty", rsa(header(`,"crit":[]`), payload("")), auth.ErrInvalid, "crit"},
		{"encrypted, five parts", claims("") + ".a.b", auth.ErrInvalid, "form"},
		{"JSON serialization", `{"payload":"e30","signatures":[]}`, auth.ErrInvalid, "form"},
		{"padded", strings.Replace(claims(""), ".", "=.", 1), auth.ErrInvalid, "form"},
		{"trailing space", claims("") + " ", auth.ErrInvalid, "form"},
		{"a line end inside", strings.Replace(claims(""), ".", "\n.", 1), auth.ErrInvalid, "form"},
		{"a line end at the end", claims("") + "\n", auth.ErrInvalid, "form"},
		{"too long", claims(`,"x":"` + strings.Repeat("a", auth.MaxTokenBytes) + `"`), auth.ErrInvalid, "over 8192 bytes"},
		{"deep", claims(`,"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000)), nil, ""},
		{"claim twice", claims(`,"sub":"bob"`), auth.ErrInvalid, "form"},
		{"caps twice, one escaped", claims(`,"c\u0061ps":{"*:>":["manage"]}`), auth.ErrInvalid, "form"},
		{"two values", rsa(header(""), payload("")+`{"sub":"bob"}`), auth.ErrInvalid, "form"},
		{"exp a text", swap(exp, `"exp":"4102444800"`), auth.ErrInvalid, "form"},
		{"exp true", swap(exp, `"exp":true`), auth.ErrInvalid, "form"},
		{"exp below zero", swap(exp, `"exp":-1`), auth.ErrInvalid, "form"},
		{"exp huge", swap(exp, `"exp":1e300`), auth.ErrInvalid, "form"},
		{"exp beyond what is a time", swap(exp, `"exp":9223372036854775807`), auth.ErrInvalid, "form"},
		{"exp missing", swap(exp, `"x":1`), auth.ErrInvalid, "exp"},
		{"exp in the past, a fraction", swap(exp, `"exp":1000.5`), auth.ErrExpired, ""},
		{"a long life", swap(exp, fmt.Sprintf(`"exp":%d`, time.Now().Add(48*time.Hour).Unix())), auth.ErrInvalid, "exp: the token lives for"},
		{"a long life that is nearly over", swap(iat, fmt.Sprintf(`"iat":%d`, time.Now().Add(-47*time.Hour).Unix())), auth.ErrInvalid, "exp: the token lives for"},
		{"nbf in the future", claims(fmt.Sprintf(`,"nbf":%d`, time.Now().Unix()+60)), auth.ErrInvalid, "nbf"},
		{"iat in the future", swap(iat, fmt.Sprintf(`"iat":%d`, time.Now().Unix()+60)), auth.ErrInvalid, "iat"},
		{"iat a text", swap(iat, `"iat":"1"`), auth.ErrInvalid, "form"},
		{"iat missing", swap(iat, `"x":1`), auth.ErrInvalid, "iat: is missing"},
		{"iat null", swap(iat, `"iat":null`), auth.ErrInvalid, "iat: is missing"},
		{"iat in another case", swap(`"iat"`, `"Iat"`), auth.ErrInvalid, "iat: is missing"},
		{"aud of another", swap(`["other","rivulet"]`, `["other"]`), auth.ErrInvalid, "aud"},
		{"aud in another case", swap(`["other","rivulet"]`, `"Rivulet"`), auth.ErrInvalid, "aud"},
		{"aud with numbers", swap(`["other","rivulet"]`, `["rivulet",1]`), auth.ErrInvalid, "form"},
		{"iss of another", swap(`https://idp.example`, `https://idp.example/`), auth.ErrInvalid, "iss"},
		{"iss a list", swap(`"https://idp.example"`, `["https://idp.example"]`), auth.ErrInvalid, "form"},
		{"jti too long", claims(`,"jti":"` + strings.Repeat("j", 256) + `"`), auth.ErrInvalid, "jti"},
		{"info and meta", claims(`,"meta":1,"info":1`), auth.ErrInvalid, "meta"},
		{"channels not covered", claims(`,"channels":["other:a"]`), auth.ErrInvalid, "channels: \"other:a\""},
		{"channels of any namespace", claims(`,"channels":["*:>"]`), auth.ErrInvalid, "channels"},
		{"too many channels", claims(`,"channels":["chat:a"` + strings.Repeat(`,"chat:a"`, 32) + `]`), auth.ErrInvalid, "channels: are 33"},
		{"limits that are none", claims(`,"limits":{"subscriptions":0}`), auth.ErrInvalid, "limits"},
		{"limits below zero", claims(`,"limits":{"commands":-1}`), auth.ErrInvalid, "limits"},
		{"limits misspelled", claims(`,"limits":{"publish":1}`), auth.ErrInvalid, "limits"},
		{"channel with caps", claims(`,"channel":"chat:a"`), auth.ErrInvalid, "caps"},
		{"actions without channel", claims(`,"actions":["subscribe"]`), auth.ErrInvalid, "channel"},
		{"a subscription token", swap(`"caps":{"chat:>":["subscribe"]}`, `"channel":"chat:a"`), auth.ErrInvalid, "one subscription"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := v.Authenticate(t.Context(), tc.token)
			if !errors.Is(err, tc.want) || tc.want != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %v with %q", err, tc.want, tc.says)
			}
			if err != nil && (c.Subject != "" || !c.Capabilities.IsZero()) {
				t.Errorf("claims %+v along with an error", c)
			}
			if err != nil && len(tc.token) > 30 && strings.Contains(err.Error(), tc.token[:30]) {
				t.Error("the error repeats the token")
			}
		})
	}
}

// TestPatternEscapes: what a capability covers cannot be talked wider.
func TestPatternEscapes(t *testing.T) {
	h := newHMAC(t, hmacConfig())
	for _, tc := range []struct {
		caps, sub, channel string
		allowed            bool
	}{
		{"chat:>", "ann", "chat:a", true},
		{"chat:>", "ann", "chat2:x", false},
		{"chat:>", "ann", "chat:", false},
		{"chat:*", "ann", "chat:a", true},
		{"chat:*", "ann", "chat:a.b", false},
		{"chat:a", "ann", "chat:a.b", false},
		{"chat:a.*", "ann", "chat:a", false},
		{"chat:*", "ann", "chat:>", false},
		{"chat:a.*", "ann", "chat:a.>", false},
		{">", "ann", "chat:a", false},
		{"chat:a%2Eb", "ann", "chat:a.b", false},
		{"chat:a.b", "ann", "chat:a%2Eb", false},
		{"chat:\u0061", "ann", "chat:а", false}, // a Cyrillic letter
		{"chat:é", "ann", "chat:e\u0301", false},
		{"user:${sub}", "ann", "user:ann", true},
		{"user:${sub}", "*", "user:bob", false},
		{"user:${sub}", ">", "user:bob", false},
		{"user:${sub}", "a.b", "user:a.b", false},
		{"user:${sub}.inbox", "bob.inbox", "user:bob.inbox.inbox", false},
		{"user:${sub}", "", "user:", false},
		{"user:${sub}", "${sub}", "user:${sub}", true},
		{"user:u${sub}", "", "user:u", false},
	} {
		t.Run(tc.caps+" "+tc.sub+" "+tc.channel, func(t *testing.T) {
			caps, _ := json.Marshal(map[string][]string{tc.caps: {"subscribe"}})
			sub, _ := json.Marshal(tc.sub)
			c, err := h.Authenticate(t.Context(), hs256(t, fmt.Sprintf(`{"sub":%s,"exp":%d,"caps":%s}`, sub, future(), caps)))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Allows(auth.Subscribe, tc.channel); got != tc.allowed {
				t.Errorf("allowed = %v, want %v", got, tc.allowed)
			}
		})
	}
}
