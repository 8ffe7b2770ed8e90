package test_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keyCooldown is the least time between two fetches of a key set that tokens ask for, and
// keyWait that a token waits for one; both with a margin.
const (
	keyCooldown = 10 * time.Second
	keyWait     = 5 * time.Second
)

// keyring is an issuer: its keys, by kid, and the server of its key set, which may fail.
type keyring struct {
	keys   map[string]*ecdsa.PrivateKey
	server *http.Server

	mu        sync.Mutex // guards the following
	published []string
	failing   bool
	fetches   int
}

func newKeyring(t *testing.T, kids ...string) *keyring {
	t.Helper()
	k := &keyring{keys: map[string]*ecdsa.PrivateKey{}}
	for _, kid := range kids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.keys[kid] = key
	}
	return k
}

// serve publishes the set at an address until the test ends.
func (k *keyring) serve(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	k.server = &http.Server{Handler: k, ReadHeaderTimeout: deadline}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = k.server.Serve(l) // until it is closed
	}()
	t.Cleanup(func() { _ = k.server.Close(); <-served })
}

func (k *keyring) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fetches++
	if k.failing {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var set jose.JSONWebKeySet
	for _, kid := range k.published {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.keys[kid].Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"})
	}
	_ = json.NewEncoder(w).Encode(set) // the node may be gone
}

// publish is what the set has from now on; without any key it fails.
func (k *keyring) publish(kids ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.published, k.failing = kids, len(kids) == 0
}

func (k *keyring) asked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fetches
}

// token is signed with the key of a kid.
func (k *keyring) token(t *testing.T, kid string) string {
	t.Helper()
	now := time.Now()
	return forged(t, "ES256", fmt.Sprintf(`{"alg":"ES256","kid":%q}`, kid),
		fmt.Sprintf(`{"iss":"idp","sub":"ann","iat":%d,"exp":%d,"caps":{"t:>":["subscribe","publish","history","manage"]}}`, now.Unix(), now.Add(time.Hour).Unix()), k.keys[kid])
}

func besiegeIssuer(t *testing.T, address string) *fortress {
	t.Helper()
	return besiege(t, fmt.Sprintf("namespaces: {t: {max_bytes: 64MiB}}\nauth:\n  hmac: {secret: %s, issuer: app}\n"+
		"  tokens: [{name: idp, issuer: idp, algorithms: [ES256], jwks_url: 'http://%s/keys'}]\n", attackSecret, address))
}

// unknownKey is what a token is answered whose key is in no set: 401, and 503 as long as the
// set is older than the token.
const unknownKey = -1

// everywhere checks what a token is answered at every door; an answer of 200 stands for any
// that is good, and a command is answered with 4000 and the status. Of unknownKey either of
// its two will do.
func everywhere(t *testing.T, v *visitor, what, token string, want int) {
	t.Helper()
	is := func(status, want int) bool {
		return status == want || want == unknownKey && (status == http.StatusUnauthorized || status == http.StatusServiceUnavailable)
	}
	for door, status := range v.doors(token, "t:keys") {
		if status == http.StatusCreated {
			status = http.StatusOK
		}
		if !is(status, want) {
			t.Errorf("%s, at %s: %d, want %d", what, door, status, want)
		}
	}
	shaken := map[int]int{http.StatusOK: http.StatusSwitchingProtocols}[want]
	if shaken == 0 {
		shaken = want
	}
	if status, _ := v.handshake(http.Header{"Authorization": {"Bearer " + token}}); !is(status, shaken) {
		t.Errorf("%s, in a handshake: %d, want %d", what, status, shaken)
	}
	_, conn := v.handshake(nil)
	if err := conn.WriteMessage(1, fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, token)); err != nil {
		t.Fatal(err)
	}
	code := map[int]int{http.StatusUnauthorized: 4401, http.StatusServiceUnavailable: 4503}[want]
	_, text, err := conn.ReadMessage()
	if err != nil {
		t.Errorf("%s, by a command: %v", what, err)
	}
	switch says := func(code int) bool { return strings.Contains(string(text), fmt.Sprintf(`"code":%d`, code)) }; {
	case want == unknownKey && (says(4401) || says(4503)), want == http.StatusOK && strings.Contains(string(text), `"connected"`):
	case code == 0 || !says(code):
		t.Errorf("%s, by a command: %s, want %d", what, text, want)
	}
}

// accepts waits until a token is taken, for as long as a fetch may be put off.
func accepts(t *testing.T, v *visitor, what, token string) {
	t.Helper()
	took := await(t, keyCooldown+keyWait, what, func() bool {
		return v.doors(token, "t:keys")["publish"] == http.StatusCreated
	})
	t.Logf("%s: after %v", what, took.Round(10*time.Millisecond))
}

// TestKeysOfAnIssuer: the node fetches the keys of an issuer, follows their rotation without
// being told, and lives through an outage with those that it had.
func TestKeysOfAnIssuer(t *testing.T) {
	t.Parallel()
	k, address, begun := newKeyring(t, "one", "two", "three"), ownAddress(t), time.Now()
	k.publish("one")
	k.serve(t, address)
	f := besiegeIssuer(t, address)
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	everywhere(t, v, "the key of the set", k.token(t, "one"), http.StatusOK)
	everywhere(t, v, "a key that is in no set", k.token(t, "two"), unknownKey)
	_, conn := v.handshake(http.Header{"Authorization": {"Bearer " + k.token(t, "one")}})

	// The next key comes, and the last one goes.
	k.publish("one", "two")
	accepts(t, v, "the next key", k.token(t, "two"))
	everywhere(t, v, "the next key", k.token(t, "two"), http.StatusOK)
	everywhere(t, v, "the key before it", k.token(t, "one"), http.StatusOK)
	k.publish("two")
	await(t, keyCooldown+keyWait, "the key that has gone to be refused", func() bool {
		v.doors(k.token(t, "three"), "t:keys") // a key that is not known has the set fetched
		return v.doors(k.token(t, "one"), "t:keys")["publish"] != http.StatusCreated
	})
	everywhere(t, v, "the key that has gone", k.token(t, "one"), unknownKey)
	everywhere(t, v, "the key that is left", k.token(t, "two"), http.StatusOK)
	if code := told(t, conn, 1, `"publish":{"channel":"t:keys","data":1}`); code != 0 {
		t.Errorf("a connection from before the rotation: %d", code)
	}

	// It fails: what is known holds, and of what is not nobody can say that it is wrong.
	k.publish()
	before := k.asked()
	await(t, keyCooldown+keyWait, "the set to be asked for in vain", func() bool {
		v.doors(k.token(t, "three"), "t:keys")
		return k.asked() > before
	})
	everywhere(t, v, "a known key in an outage", k.token(t, "two"), http.StatusOK)
	everywhere(t, v, "an unknown key in an outage", k.token(t, "three"), http.StatusServiceUnavailable)
	k.publish("two", "three")
	accepts(t, v, "the key that came in the outage", k.token(t, "three"))
	if n, most := k.asked(), 2+int(time.Since(begun)/keyCooldown); n > most {
		t.Errorf("the set was fetched %d times within %v, at most %d are bearable", n, time.Since(begun), most)
	}
}

// TestKeysThatCannotBeHad: the node starts without the keys of an issuer. Its tokens are
// answered with what is temporary, other tokens as ever, and all is well once the keys are there.
func TestKeysThatCannotBeHad(t *testing.T) {
	t.Parallel()
	k, address := newKeyring(t, "one"), ownAddress(t)
	k.publish("one")
	f := besiegeIssuer(t, address)
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	everywhere(t, v, "a token without keys", k.token(t, "one"), http.StatusServiceUnavailable)
	own := forged(t, "HS256", `{"alg":"HS256"}`, fmt.Sprintf(`{"iss":"app","sub":"ann","iat":%d,"exp":%d,"caps":{"t:>":["subscribe","publish","history","manage"]}}`,
		time.Now().Unix(), time.Now().Add(time.Hour).Unix()), []byte(attackSecret))
	everywhere(t, v, "a token of the secret", own, http.StatusOK)
	if status, header, _ := v.request(http.MethodGet, messagesPath("t:keys"), "", http.Header{"Authorization": {"Bearer " + k.token(t, "one")}}); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("%d with %v", status, header)
	}
	if !strings.Contains(f.stderr.String(), "keys cannot be fetched, tokens of this issuer cannot be verified") {
		t.Errorf("the log does not say so:\n%s", tail(f.stderr.String()))
	}
	k.serve(t, address)
	accepts(t, v, "the keys that are there now", k.token(t, "one"))
	everywhere(t, v, "a token with keys", k.token(t, "one"), http.StatusOK)
	const ok, failed = `rivulet_auth_key_fetches_total{issuer="idp",result="ok"} 1`, `rivulet_auth_key_fetches_total{issuer="idp",result="error"} `
	if text := metricsOf(t, f.node); !strings.Contains(text, ok) || !strings.Contains(text, failed) || strings.Contains(text, failed+"0\n") {
		t.Errorf("the metrics lack %s", ok)
	}
}
