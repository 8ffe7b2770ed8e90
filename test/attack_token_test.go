package test_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// forged makes a token of raw parts.
func forged(t *testing.T, alg, header, payload string, key any) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	if alg == "none" {
		return text + "."
	}
	sig, err := jwt.GetSigningMethod(alg).Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestAttackTokens: tokens that were made without a key, of another time, or to be more than
// they are, get 401 at every door, and no more memory than a few requests take.
func TestAttackTokens(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	file := filepath.Join(t.TempDir(), "issuer.pub")
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	n := besiege(t, fmt.Sprintf(`
namespaces: {t: {max_bytes: 64MiB}}
auth:
  hmac: {secret: %s, issuer: app}
  tokens: [{name: idp, issuer: idp, algorithms: [ES256], public_key_file: %q}]
`, attackSecret, file))
	defer n.stands(t, 64<<20)
	v := visit(t, n.node)
	payload := func(issuer string, exp time.Time, more string) string {
		iat := fmt.Sprintf(`"iat":%d,`, time.Now().Unix())
		if strings.Contains(more, `"iat"`) {
			iat = ""
		}
		return fmt.Sprintf(`{"iss":%q,"sub":"ann",%s"exp":%d,"caps":{"t:>":["subscribe","publish","history","manage"]}%s}`, issuer, iat, exp.Unix(), more)
	}
	soon, secret := time.Now().Add(time.Hour), []byte(attackSecret)
	hs := func(exp time.Time, more string) string {
		return forged(t, "HS256", `{"alg":"HS256"}`, payload("app", exp, more), secret)
	}
	es := func(header string) string {
		return forged(t, "ES256", header, payload("idp", soon, ""), private)
	}
	for name, good := range map[string]string{"secret": hs(soon, ""), "issuer": es(`{"alg":"ES256"}`)} {
		for door, status := range v.doors(good, "t:good") {
			if status != http.StatusOK && status != http.StatusCreated {
				t.Fatalf("a good token, %s, at %s: %d", name, door, status)
			}
		}
	}
	sum := strings.Split(hs(soon, ""), ".")
	other, _ := json.Marshal(map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString([]byte("mine"))})
	for name, token := range map[string]string{
		"alg none":                          forged(t, "none", `{"alg":"none"}`, payload("app", soon, ""), nil),
		"alg nOnE":                          forged(t, "none", `{"alg":"nOnE"}`, payload("app", soon, ""), nil),
		"no alg":                            forged(t, "none", `{}`, payload("app", soon, ""), nil),
		"a signature of nothing":            sum[0] + "." + sum[1] + ".",
		"the public key as a secret":        forged(t, "HS256", `{"alg":"HS256"}`, payload("idp", soon, ""), public),
		"the public key, as the other":      forged(t, "HS256", `{"alg":"HS256"}`, payload("app", soon, ""), public),
		"the key in the header":             forged(t, "HS256", `{"alg":"HS256","jwk":`+string(other)+`}`, payload("app", soon, ""), []byte("mine")),
		"the issuer's key for the app":      forged(t, "ES256", `{"alg":"ES256"}`, payload("app", soon, ""), private),
		"the secret for the issuer":         forged(t, "HS256", `{"alg":"HS256"}`, payload("idp", soon, ""), secret),
		"no issuer":                         forged(t, "HS256", `{"alg":"HS256"}`, strings.Replace(payload("app", soon, ""), `"iss"`, `"isz"`, 1), secret),
		"HS512 where HS256 is set":          forged(t, "HS512", `{"alg":"HS512"}`, payload("app", soon, ""), secret),
		"kid of a file":                     forged(t, "HS256", `{"alg":"HS256","kid":"../../../../../../dev/null"}`, payload("idp", soon, ""), []byte{}),
		"kid of a URL":                      forged(t, "HS256", `{"alg":"HS256","kid":"http://127.0.0.1:1/"}`, payload("idp", soon, ""), []byte("mine")),
		"kid of a query":                    forged(t, "HS256", `{"alg":"HS256","kid":"' UNION SELECT 'mine"}`, payload("app", soon, ""), []byte("mine")),
		"crit":                              forged(t, "HS256", `{"alg":"HS256","crit":["b64"],"b64":false}`, payload("app", soon, ""), secret),
		"expired":                           hs(time.Now().Add(-time.Hour), ""),
		"not yet":                           hs(soon, fmt.Sprintf(`,"nbf":%d`, time.Now().Add(30*time.Minute).Unix())),
		"issued in the future":              hs(soon, fmt.Sprintf(`,"iat":%d`, time.Now().Add(30*time.Minute).Unix())),
		"issued at no time":                 hs(soon, `,"iat":null`),
		"for ever":                          hs(time.Now().AddDate(50, 0, 0), ""),
		"no end":                            forged(t, "HS256", `{"alg":"HS256"}`, `{"iss":"app","sub":"ann","iat":1,"caps":{"t:>":["publish"]}}`, secret),
		"the subject twice":                 hs(soon, `,"sub":"root"`),
		"capabilities twice, one escaped":   hs(soon, `,"c\u0061ps":{"*:>":["manage"]}`),
		"capabilities of another form":      hs(soon, `,"caps":"*"`),
		"a token for one subscription":      hs(soon, `,"channel":"t:good"`),
		"over 8 KiB":                        hs(soon, `,"x":"`+strings.Repeat("x", 9<<10)+`"`),
		"5,000 capabilities":                hs(soon, `,"caps":{`+strings.Repeat(`"t:a":[],`, 600)+`"t:b":[]}`),
		"33 channels":                       hs(soon, `,"channels":["t:a"`+strings.Repeat(`,"t:a"`, 32)+`]`),
		"meta 17 deep":                      hs(soon, `,"meta":`+strings.Repeat("[", 17)+strings.Repeat("]", 17)),
		"meta of 1,025 bytes":               hs(soon, `,"meta":"`+strings.Repeat("m", 1023)+`"`),
		"a subject of 256 bytes":            hsOf(t, soon, strings.Repeat("s", 256)),
		"a subject with a line end":         hsOf(t, soon, `a\nb`),
		"an id of 256 bytes":                hs(soon, `,"jti":"`+strings.Repeat("j", 256)+`"`),
		"a channel that is not allowed":     hs(soon, `,"channels":["other:a"]`),
		"actions of no channel":             hs(soon, `,"actions":["subscribe"]`),
		"issued long ago":                   hs(soon, fmt.Sprintf(`,"iat":%d`, time.Now().Add(-25*time.Hour).Unix())),
		"issued before there was time":      hs(soon, `,"iat":-1`),
		"issued after all time":             hs(soon, `,"iat":1e300`),
		"a text for a time":                 hs(soon, `,"nbf":"0"`),
		"limits that are none":              hs(soon, `,"limits":{"commands":-1}`),
		"another's payload":                 sum[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(payload("app", soon, `,"x":1`))) + "." + sum[2],
		"a zero signature (CVE-2022-21449)": es(`{"alg":"ES256"}`)[:strings.LastIndexByte(es(`{"alg":"ES256"}`), '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"five parts":                        hs(soon, "") + ".a.b",
		"not a token":                       "' OR 1=1 --",
	} {
		refusedEverywhere(t, v, name, token)
	}
	// What is over 32 KiB is not even a request.
	if status, _, _ := v.request(http.MethodGet, messagesPath("t:good"), "", http.Header{"Authorization": {"Bearer " + strings.Repeat("x", 1<<20)}}); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a token of 1 MiB: %d", status)
	}
}

// hsOf is a token for a subject, which is taken as it stands.
func hsOf(t *testing.T, exp time.Time, subject string) string {
	t.Helper()
	payload := fmt.Sprintf(`{"iss":"app","sub":"%s","iat":%d,"exp":%d,"caps":{"t:>":["publish"]}}`, subject, time.Now().Unix(), exp.Unix())
	return forged(t, "HS256", `{"alg":"HS256"}`, payload, []byte(attackSecret))
}

// refusedEverywhere: over HTTP, by an event stream, a poll, a handshake and a command.
func refusedEverywhere(t *testing.T, v *visitor, name, token string) {
	t.Helper()
	for door, status := range v.doors(token, "t:good") {
		if status != http.StatusUnauthorized {
			t.Errorf("%s, at %s: %d", name, door, status)
		}
	}
	if status, _ := v.handshake(http.Header{"Authorization": {"Bearer " + token}}); status != http.StatusUnauthorized {
		t.Errorf("%s, in a handshake: %d", name, status)
	}
	_, conn := v.handshake(nil)
	text, _ := json.Marshal(token)
	if err := conn.WriteMessage(1, fmt.Appendf(nil, `{"id":1,"connect":{"token":%s}}`, text)); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, conn); code != 4201 && (code != 4006 || name != "expired") {
		t.Errorf("%s, by a command: closed with %d", name, code)
	}
}
