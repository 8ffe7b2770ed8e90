package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Revocation ends tokens before their time: one token, those of a user, or everybody's.
// It is of one of the three kinds; the other two fields of them are empty.
type Revocation struct {
	// TokenID is the "jti" of the one token.
	TokenID string
	// User is the subject whose tokens that were issued before IssuedBefore are revoked.
	User string
	// IssuedBefore, in whole seconds, is of a user or, without one, of everybody. It may be
	// in the future: tokens are refused then as long as they are issued before it. A
	// token that does not say when it was issued, where such are taken at all, was issued
	// before any time.
	IssuedBefore time.Time
	// Expires is when it is forgotten: no token that it is about must live longer.
	Expires time.Time
	Created time.Time
	Reason  string // for people; at most MaxReasonBytes
	By      string // who revoked
}

// Bounds of what is kept.
const (
	MaxReasonBytes  = 256
	MaxStoredKeys   = 10_000
	MaxRevocations  = 100_000
	maxKeptLifetime = maxTokenLifetime
)

// Kinds of entries in the log.
const (
	KindKey   = "key"
	KindToken = "token" // a revocation by token ID
	KindUser  = "user"
	KindAll   = "all"
)

// Entry is the kind and the name under which the log keeps it: there is one for each
// token and user, and one for everybody.
func (r Revocation) Entry() (kind, name string) {
	switch {
	case r.TokenID != "":
		return KindToken, r.TokenID
	case r.User != "":
		return KindUser, r.User
	}
	return KindAll, ""
}

// Validate reports the first problem, beginning with the name of the field.
func (r Revocation) Validate(now time.Time) error {
	text := func(name, value string, most int) error {
		if len(value) > most || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("%s: must be UTF-8 of at most %d bytes without control characters", name, most)
		}
		return nil
	}
	switch {
	case r.TokenID != "" && r.User != "":
		return errors.New("user: cannot be given together with token_id, which says all")
	case r.TokenID != "" && !r.IssuedBefore.IsZero():
		return errors.New("issued_before: cannot be given together with token_id, which says all")
	case r.TokenID == "" && r.IssuedBefore.IsZero():
		return errors.New("issued_before: is missing; without token_id or user it must say which tokens are revoked")
	case !r.Expires.After(now):
		return errors.New("expires: must be in the future")
	case r.Expires.Sub(now) > maxKeptLifetime:
		return fmt.Errorf("expires: is more than %d days ahead", int(maxKeptLifetime/(24*time.Hour)))
	case r.IssuedBefore.After(r.Expires):
		return errors.New("issued_before: is after expires, when the revocation is forgotten")
	}
	return errors.Join(text("token_id", r.TokenID, MaxTokenIDBytes), text("user", r.User, MaxSubjectBytes), text("reason", r.Reason, MaxReasonBytes))
}

// Widen is r with what another of the same entry revokes beside it, so that no
// revocation is undone by a later one.
func (r Revocation) Widen(other Revocation) Revocation {
	if other.IssuedBefore.After(r.IssuedBefore) {
		r.IssuedBefore = other.IssuedBefore
	}
	if other.Expires.After(r.Expires) {
		r.Expires = other.Expires
	}
	return r
}

// revocationValue is a revocation as the log has it; its kind and name are beside it.
type revocationValue struct {
	IssuedBefore int64  `json:"b,omitempty"` // Unix seconds
	Expires      int64  `json:"x"`           // Unix milliseconds, as the following
	Created      int64  `json:"t,omitempty"`
	Reason       string `json:"r,omitempty"`
	By           string `json:"y,omitempty"`
}

// Encode is the revocation as the log keeps it.
func (r Revocation) Encode() ([]byte, error) {
	v := revocationValue{Expires: r.Expires.UnixMilli(), Created: r.Created.UnixMilli(), Reason: r.Reason, By: r.By}
	if !r.IssuedBefore.IsZero() {
		v.IssuedBefore = r.IssuedBefore.Unix()
	}
	return json.Marshal(v)
}

// DecodeRevocation is the inverse of Entry and Encode.
func DecodeRevocation(kind, name string, value []byte) (Revocation, error) {
	var v revocationValue
	if err := json.Unmarshal(value, &v); err != nil {
		return Revocation{}, fmt.Errorf("auth: revocation: %w", err)
	}
	r := Revocation{Expires: time.UnixMilli(v.Expires), Created: time.UnixMilli(v.Created), Reason: v.Reason, By: v.By}
	if v.IssuedBefore != 0 {
		r.IssuedBefore = time.Unix(v.IssuedBefore, 0)
	}
	switch kind {
	case KindToken:
		r.TokenID = name
	case KindUser:
		r.User = name
	}
	if kind != KindAll && name == "" || kind != KindToken && v.IssuedBefore == 0 || v.Expires <= 0 {
		return Revocation{}, errors.New("auth: revocation: says nothing")
	}
	return r, nil
}
