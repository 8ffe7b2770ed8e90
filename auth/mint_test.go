package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestSignersHaveFittingKeys: what no node would take is not signed, and the error says
// what would be.
func TestSignersHaveFittingKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		algorithm string
		key       any
		says      string // "" is signed
	}{
		{"ES256", p256, ""},
		{"EdDSA", edwards, ""},
		{"HS256", []byte(strings.Repeat("s", 32)), ""},
		{"RS256", p256, "an EC P-256 key signs with ES256, not RS256"},
		{"ES384", p256, "an EC P-256 key signs with ES256, not ES384"},
		{"ES256", p224, "it is of P-224"},
		{"RS256", small, "it has 1024 bits"},
		{"ES256", small, "an RSA key signs with RS256"},
		{"RS256", edwards, "an Ed25519 key signs with EdDSA"},
		{"RS256", []byte("secret"), "a shared secret signs with HS256"},
		{"RS256", "secret", "a string is no key"},
	} {
		token, err := auth.Signer{Algorithm: tc.algorithm, Key: tc.key}.Mint(auth.Claims{ExpiresAt: time.Now().Add(time.Minute)})
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || token != "" || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s with %T: %v, want %q", tc.algorithm, tc.key, err, tc.says)
		}
	}
}

// TestPrivateKeyAfterParameters: openssl ecparam -genkey writes the curve before the key.
func TestPrivateKeyAfterParameters(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	got, err := auth.ParsePrivateKey(append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...))
	if err != nil || auth.AlgorithmOf(got) != "ES256" {
		t.Errorf("%T, %v", got, err)
	}
	if _, err := auth.ParsePrivateKey(parameters); err == nil {
		t.Error("parameters alone are a key")
	}
}

// TestMissingClaimIsNamed: who configures an issuer has to find out which it is.
func TestMissingClaimIsNamed(t *testing.T) {
	secret := auth.NewSecret(strings.Repeat("s", 32))
	token, err := auth.Mint(auth.HMACConfig{Secret: secret}, auth.Claims{ExpiresAt: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for says, cfg := range map[string]auth.HMACConfig{
		"iss is not the expected one": {Secret: secret, Issuer: "app"},
		"aud is missing":              {Secret: secret, Audience: "rivulet"},
	} {
		v, err := auth.New(auth.Config{HMAC: cfg}, auth.Services{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Authenticate(t.Context(), token); err == nil || !strings.HasSuffix(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
