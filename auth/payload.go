package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// tokenPayload is the claims part of a token.
type tokenPayload struct {
	jwt.RegisteredClaims

	// The others, as they stand in the token; nil where they are not there, or null.
	caps, info, meta, channels, limits, channel, actions []byte
}

// UnmarshalJSON matches names exactly, where encoding/json would take "Caps" for
// "caps": an application that copies fields of a user's profile into the token
// must not thereby let the user choose capabilities. For the same reason no name may
// be there twice.
func (p *tokenPayload) UnmarshalJSON(b []byte) error {
	if !utf8.Valid(b) { // the decoder would make two different subjects equal
		return errors.New("claims are not UTF-8")
	}
	fields, err := uniqueFields(b)
	if err != nil {
		return err
	}
	for name, into := range map[string]any{
		"sub": &p.Subject, "iss": &p.Issuer, "aud": &p.Audience, "jti": &p.ID,
	} {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return err
			}
		}
	}
	for name, into := range map[string]**jwt.NumericDate{"exp": &p.ExpiresAt, "nbf": &p.NotBefore, "iat": &p.IssuedAt} {
		if *into, err = numericDate(fields[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, into := range map[string]*[]byte{
		"caps": &p.caps, "info": &p.info, "meta": &p.meta, "channels": &p.channels,
		"limits": &p.limits, "channel": &p.channel, "actions": &p.actions,
	} {
		if raw := fields[name]; string(raw) != "null" {
			*into = raw
		}
	}
	return nil
}

// uniqueFields splits a JSON object into its fields.
func uniqueFields(b []byte) (map[string]json.RawMessage, error) {
	if string(bytes.TrimSpace(b)) == "null" {
		return nil, nil //nolint:nilnil // no claims are no error: what is needed is missed later
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("claims are not an object")
	}
	fields := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if _, twice := fields[name]; twice {
			return nil, errors.New("a claim is there twice")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		fields[name] = raw
	}
	return fields, nil // that b is one object, whole, the caller's decoder has checked
}

// latestDate is the last second of the year 9999.
const latestDate = 253402300799

// numericDate reads a time of a token: a number of seconds since 1970, where the library
// would also take one in quotes, below 0, or beyond what a time can hold.
func numericDate(raw []byte) (*jwt.NumericDate, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil //nolint:nilnil // it is not there
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || raw[0] == '"' || !(seconds >= 0 && seconds <= latestDate) {
		return nil, errors.New("is not a time in seconds since 1970")
	}
	return jwt.NewNumericDate(unixSeconds(seconds)), nil
}
