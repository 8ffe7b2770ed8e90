package test_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestAttackKeyIDs: what a token says of its key picks among the keys of its issuer, and
// nothing else: no file, no address, no key that it brings along, and no fetch for each.
func TestAttackKeyIDs(t *testing.T) {
	t.Parallel()
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, address := newKeyring(t, "one", "two"), ownAddress(t)
	k.publish("one", "two")
	k.serve(t, address)
	var visits atomic.Int64
	lair := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.Public(), KeyID: "mine"}}})
	}))
	t.Cleanup(lair.Close)
	f, begun := besiegeIssuer(t, address), time.Now()
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	payload := func() string {
		return fmt.Sprintf(`{"iss":"idp","sub":"ann","iat":%d,"exp":%d,"caps":{"t:>":["subscribe","publish","history","manage"]}}`, time.Now().Unix(), time.Now().Add(time.Hour).Unix())
	}
	signed := func(header string, key *ecdsa.PrivateKey) string { return forged(t, "ES256", header, payload(), key) }
	everywhere(t, v, "a good token", signed(`{"alg":"ES256","kid":"one"}`, k.keys["one"]), http.StatusOK)
	everywhere(t, v, "a good token without a kid", signed(`{"alg":"ES256"}`, k.keys["two"]), http.StatusOK)
	jwk, _ := json.Marshal(jose.JSONWebKey{Key: mine.Public(), KeyID: "mine"})
	public, _ := json.Marshal(jose.JSONWebKey{Key: k.keys["one"].Public(), KeyID: "one"})
	for name, token := range map[string]string{
		"a stranger's key":          signed(`{"alg":"ES256","kid":"one"}`, mine),
		"a stranger's, without kid": signed(`{"alg":"ES256"}`, mine),
		"another's kid":             signed(`{"alg":"ES256","kid":"one"}`, k.keys["two"]),
		"a file":                    signed(`{"alg":"ES256","kid":"../../../../../../etc/passwd"}`, mine),
		"an empty file":             signed(`{"alg":"ES256","kid":"/dev/null"}`, mine),
		"an address":                signed(`{"alg":"ES256","kid":"`+lair.URL+`/keys"}`, mine),
		"jku":                       signed(`{"alg":"ES256","kid":"mine","jku":"`+lair.URL+`/keys"}`, mine),
		"x5u":                       signed(`{"alg":"ES256","kid":"mine","x5u":"`+lair.URL+`/keys"}`, mine),
		"jwk":                       signed(`{"alg":"ES256","kid":"mine","jwk":`+string(jwk)+`}`, mine),
		"jwk under a good kid":      signed(`{"alg":"ES256","kid":"one","jwk":`+string(jwk)+`}`, mine),
		"x5c":                       signed(`{"alg":"ES256","x5c":["`+base64.StdEncoding.EncodeToString([]byte("mine"))+`"]}`, mine),
		"SQL":                       signed(`{"alg":"ES256","kid":"one' OR '1'='1"}`, k.keys["one"]),
		"a command":                 signed(`{"alg":"ES256","kid":"one;cat /etc/passwd|"}`, k.keys["one"]),
		"a zero byte":               signed(`{"alg":"ES256","kid":"one\u0000"}`, k.keys["one"]),
		"line ends":                 signed(`{"alg":"ES256","kid":"one\r\nX-A: b"}`, k.keys["one"]),
		"in capitals":               signed(`{"alg":"ES256","kid":"ONE"}`, k.keys["one"]),
		"another normal form":       signed(`{"alg":"ES256","kid":"o\u006e\u0301e"}`, k.keys["one"]),
		"a number":                  signed(`{"alg":"ES256","kid":1}`, k.keys["one"]),
		"a list":                    signed(`{"alg":"ES256","kid":["one"]}`, k.keys["one"]),
		"an object":                 signed(`{"alg":"ES256","kid":{"$ne":""}}`, k.keys["one"]),
		"256 bytes":                 signed(`{"alg":"ES256","kid":"`+strings.Repeat("k", 256)+`"}`, k.keys["one"]),
		"7 KiB":                     signed(`{"alg":"ES256","kid":"`+strings.Repeat("k", 5000)+`"}`, k.keys["one"]),
		"twice, the last unknown":   signed(`{"alg":"ES256","kid":"one","kid":"none"}`, k.keys["one"]),
		"a header 2,000 deep":       signed(`{"alg":"ES256","kid":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`}`, k.keys["one"]),
		"the public key as secret":  forged(t, "HS256", `{"alg":"HS256","kid":"one"}`, payload(), public),
		"the kid as secret":         forged(t, "HS256", `{"alg":"HS256","kid":"one"}`, payload(), []byte("one")),
		"no algorithm":              forged(t, "none", `{"alg":"none","kid":"one"}`, payload(), nil),
	} {
		everywhere(t, v, name, token, unknownKey)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the node has followed an address of a token %d times", n)
	}
	for i := range 500 {
		header := http.Header{"Authorization": {"Bearer " + signed(fmt.Sprintf(`{"alg":"ES256","kid":"%d"}`, i), mine)}}
		if status, _, _ := v.request(http.MethodGet, messagesPath("t:a"), "", header); status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
			t.Fatalf("a kid of its own each time: %d", status)
		}
	}
	if n, most := k.asked(), 2+int(time.Since(begun)/keyCooldown); n > most {
		t.Errorf("the set was fetched %d times within %v, at most %d are bearable", n, time.Since(begun), most)
	}
}
