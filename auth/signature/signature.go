// Package signature signs the requests that a node makes of other services, webhooks and
// hooks alike, and checks them. It runs no goroutine and keeps nothing; everything is safe
// for concurrent use.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Header carries the signature of a request: t=<Unix seconds>,v1=<hex>.
const Header = "Rivulet-Signature"

// Tolerance is how far from now a signature may have been made, the window in which a
// request could be sent again by somebody else. Who minds that also refuses an ID twice.
const Tolerance = 5 * time.Minute

// ErrSignature says that a request is not from who has the secret, or is an old one.
var ErrSignature = errors.New("signature: bad signature")

// Sign returns the signature of a body at a time: HMAC-SHA256 with the secret over
// "<Unix seconds>.<body>", in hex.
func Sign(secret, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(digest(secret, t, body))
}

func digest(secret []byte, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(t + ".")) // never fails
	_, _ = mac.Write(body)
	return mac.Sum(nil)
}

// Verify checks the signature of a body as it was received, and that it was made within
// tolerance of now. Parts that it does not know are ignored; one of several v1 has to
// match. Errors wrap ErrSignature.
func Verify(secret, body []byte, header string, now time.Time, tolerance time.Duration) error {
	var at string
	var sums [][]byte
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			at = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: no time", ErrSignature)
	}
	if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > tolerance {
		return fmt.Errorf("%w: made %v from now, more than %v", ErrSignature, age.Round(time.Second), tolerance)
	}
	want := digest(secret, at, body)
	for _, sum := range sums {
		if hmac.Equal(sum, want) {
			return nil
		}
	}
	return fmt.Errorf("%w: it does not match the body", ErrSignature)
}
