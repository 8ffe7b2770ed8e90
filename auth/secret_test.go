package auth_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rivulet-rt/rivulet/auth"
)

func TestSecretStaysSecret(t *testing.T) {
	const text = "hunter2"
	s := auth.NewSecret(text)
	type exported struct{ Secret auth.Secret }
	type unexported struct{ secret auth.Secret }
	cfg := auth.Config{HMAC: auth.HMACConfig{Secret: s}}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		shown["secret "+verb] = fmt.Sprintf(verb, s)
		shown["pointer "+verb] = fmt.Sprintf(verb, &s)
		shown["exported "+verb] = fmt.Sprintf(verb, exported{s})
		shown["unexported "+verb] = fmt.Sprintf(verb, unexported{secret: s})
		shown["config "+verb] = fmt.Sprintf(verb, cfg)
		shown["error "+verb] = fmt.Sprintf(verb, fmt.Errorf("bad %v", s))
	}
	for name, marshal := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "YAML": yaml.Marshal, "XML": xml.Marshal} {
		b, err := marshal(exported{s})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shown[name] = string(b)
		if !strings.Contains(string(b), "[redacted]") {
			t.Errorf("%s does not say that it is redacted: %s", name, b)
		}
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("start", slog.Any("secret", s), slog.Any("config", cfg))
	}
	shown["slog"] = log.String()
	for how, out := range shown {
		if strings.Contains(out, text) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", text)) {
			t.Errorf("%s reveals it: %s", how, out)
		}
	}
}

func TestSecretIsRead(t *testing.T) {
	var fromJSON, fromYAML struct{ Secret auth.Secret }
	if err := json.Unmarshal([]byte(`{"Secret":"hunter2"}`), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(`secret: hunter2`), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if fromJSON.Secret.Reveal() != "hunter2" || fromYAML.Secret.Reveal() != "hunter2" {
		t.Errorf("JSON %q, YAML %q", fromJSON.Secret.Reveal(), fromYAML.Secret.Reveal())
	}
	if z := auth.NewSecret(""); !z.IsZero() || z.String() != "" || z.Reveal() != "" {
		t.Error("empty text is a secret")
	}
}
